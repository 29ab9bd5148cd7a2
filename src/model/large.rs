//! Tables that are read all over, in large pages.
//!
//! An answer reads a handful of places at random, each of them in a page of its own. With small pages the
//! processor looks each of these up first, in tables that are memory too, and on a virtual machine in two sets of them.

use std::alloc::{self, Layout, handle_alloc_error};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;

use zerocopy::FromZeros;

/// The size of a large page on x86-64, and on arm64 with pages of 4 KiB.
const PAGE: usize = 2 << 20;
/// Tables whose last page would be filled with more than this, and with more than this part of what they have, are not made
/// to fill it: they lie as they come, and only the whole pages within them are large.
const SPARE: usize = PAGE / 4;
const SPARE_PART: usize = 8;

const CACHE_LINE: usize = 64;

/// A boxed slice that begins at a cache line and is never written as a whole again, in large pages where it fills them and
/// the system has some.
pub struct Large<T> {
    start: NonNull<T>,
    length: usize,
    /// Where the memory begins: at `start` or before.
    memory: NonNull<u8>,
    owns: PhantomData<T>,
}

impl<T> Large<T> {
    /// Memory, in octets: where it begins at a page, whole pages.
    #[must_use]
    pub fn octets(&self) -> usize {
        pages::<T>(self.length).unwrap_or(self.length * size_of::<T>())
    }

    /// Memory for so many, of which nothing is written yet, or zeros.
    fn allocate(length: usize, zeros: bool) -> Self {
        const { assert!(!std::mem::needs_drop::<T>(), "they are let go as they are") };
        const { assert!(align_of::<T>() <= CACHE_LINE, "it begins at a cache line") };
        let layout = layout::<T>(length);
        if layout.size() == 0 {
            let start = NonNull::dangling();
            return Self { start, length, memory: start.cast(), owns: PhantomData };
        }
        #[expect(unsafe_code, reason = "no safe type begins at a page")]
        // SAFETY: the layout is not empty. It has one page or cache line more than it needs, so that as many remain behind
        // the first that begins within it.
        let (memory, start) = unsafe {
            let memory = if zeros { alloc::alloc_zeroed(layout) } else { alloc::alloc(layout) };
            let memory = NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout));
            let before = memory.align_offset(if pages::<T>(length).is_some() { PAGE } else { CACHE_LINE });
            (memory, memory.add(before).cast())
        };
        Self { start, length, memory, owns: PhantomData }
    }

    /// Asks for large pages under the first so many. Where the system has none to give, nothing changes.
    pub fn ask_for_pages(&self, length: usize) {
        #[cfg(target_os = "linux")]
        {
            let octets = length.min(self.length) * size_of::<T>();
            let (before, octets) = match pages::<T>(self.length) {
                Some(_) => (0, octets.next_multiple_of(PAGE)),
                None => {
                    let before = self.start.cast::<u8>().align_offset(PAGE);
                    (before, octets.saturating_sub(before) / PAGE * PAGE)
                }
            };
            for advice in [libc::MADV_HUGEPAGE, libc::MADV_COLLAPSE] {
                if octets > 0 {
                    #[expect(unsafe_code, reason = "measured: see benches/README.md")]
                    // SAFETY: whole pages of memory that this owns; neither advice changes what is read there.
                    unsafe {
                        libc::madvise(self.start.cast::<u8>().add(before).as_ptr().cast(), octets, advice);
                    }
                }
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = length;
    }
}

impl<T: FromZeros> Large<T> {
    /// Zeros, which take no memory before they are touched, and are in small pages before [`Self::ask_for_pages`].
    #[must_use]
    pub fn zeroed(length: usize) -> Self {
        Self::allocate(length, true)
    }
}

impl<T: Copy> From<Vec<T>> for Large<T> {
    fn from(table: Vec<T>) -> Self {
        let large = Self::allocate(table.len(), false);
        #[expect(unsafe_code, reason = "as above")]
        // SAFETY: there is room for as many, newly allocated and so apart from the table.
        unsafe {
            large.start.copy_from_nonoverlapping(NonNull::from(&*table).cast(), large.length);
        }
        large.ask_for_pages(large.length);
        large
    }
}

impl<T> Deref for Large<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        #[expect(unsafe_code, reason = "as above")]
        // SAFETY: so many stand there, zeros or copied, for as long as this does.
        unsafe {
            NonNull::slice_from_raw_parts(self.start, self.length).as_ref()
        }
    }
}

impl<T> Drop for Large<T> {
    fn drop(&mut self) {
        let layout = layout::<T>(self.length);
        if layout.size() > 0 {
            #[expect(unsafe_code, reason = "as above")]
            // SAFETY: it was allocated with this layout.
            unsafe {
                alloc::dealloc(self.memory.as_ptr(), layout);
            }
        }
    }
}

#[expect(unsafe_code, reason = "it owns what it points to")]
// SAFETY: it is what a boxed slice is.
unsafe impl<T: Send> Send for Large<T> {}
#[expect(unsafe_code, reason = "it owns what it points to")]
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Large<T> {}

impl<T> fmt::Debug for Large<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Large({} of {} octets)", self.length, size_of::<T>())
    }
}

/// Octets of the pages of so many, where they fill these.
fn pages<T>(length: usize) -> Option<usize> {
    let octets = length * size_of::<T>();
    let pages = octets.next_multiple_of(PAGE);
    (octets > 0 && pages - octets <= SPARE.max(octets / SPARE_PART)).then_some(pages)
}

/// Of so many; with one page or cache line more, since alignment asked of an allocator may cost it that zeros come untouched.
fn layout<T>(length: usize) -> Layout {
    let plain = Layout::array::<T>(length).expect("addresses are not scarce");
    let octets = match (plain.size(), pages::<T>(length)) {
        (0, _) => 0,
        (octets, None) => octets + CACHE_LINE,
        (_, Some(pages)) => pages + PAGE,
    };
    Layout::from_size_align(octets, plain.align()).expect("nor here")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn tables_are_as_they_were() {
        let words = PAGE / 8;
        for (length, pages) in [
            (0, 0),
            (1, 0),
            (words / 2, 0),
            (words * 3 / 4 - 1, 0),
            (words * 3 / 4, 1),
            (words, 1),
            (words + 1, 0),
            (3 * words + 1, 0),
            (8 * words + 1, 9),
        ] {
            let table: Vec<u64> = (0..length as u64).collect();
            let large = Large::from(table.clone());
            assert_eq!(*large, *table);
            let begins_at = if pages > 0 { PAGE } else { CACHE_LINE };
            assert!(length == 0 || large.as_ptr().addr().is_multiple_of(begins_at), "{length}");
            assert_eq!(large.octets(), if pages > 0 { pages * PAGE } else { length * 8 }, "{length}");
        }
        let small = Large::from(vec![7_u8; 3]);
        assert_eq!((&*small, small.as_ptr().addr() % CACHE_LINE), (&[7; 3][..], 0));
    }

    #[test]
    fn zeros_are_counted_up_through_a_shared_reference() {
        let cells = Large::<AtomicU64>::zeroed(PAGE);
        cells[0].store(7, Ordering::Relaxed);
        cells.ask_for_pages(1);
        cells.ask_for_pages(usize::MAX / 16);
        assert_eq!(cells[0].swap(0, Ordering::Relaxed), 7);
        assert!(cells.iter().step_by(4096).all(|cell| cell.load(Ordering::Relaxed) == 0));
        std::thread::scope(|scope| {
            scope.spawn(|| cells[PAGE - 1].store(9, Ordering::Relaxed));
        });
        assert_eq!(cells[PAGE - 1].load(Ordering::Relaxed), 9);
        assert_eq!(Large::<u32>::zeroed(0).len(), 0);
    }
}
