//! An endpoint, ready to be answered.

use std::sync::Arc;

use super::image::Image;
use super::ready::Ready;
use super::standing::{Hand, HeldAs, Standing};
use crate::model::{CounterId, Family, Policy};

/// One endpoint as it stands; by family its image and the same as a line to copy.
#[derive(Debug)]
pub(super) struct EndpointEntry {
    pub(super) standing: Standing,
    pub(super) images: [Option<Arc<Image>>; 2],
    pub(super) ready: [Ready; 2],
    pub(super) counter: CounterId,
}

impl EndpointEntry {
    pub(super) fn new(standing: Standing, counter: CounterId) -> Self {
        let images = Family::ALL.map(|family| {
            let addresses = standing.answerable(family);
            let image = || Arc::new(Image::new(family, &addresses, standing.ttl, Box::new([counter])));
            (!addresses.is_empty()).then(image)
        });
        let ready = images.each_ref().map(|image| image.as_ref().map_or(Ready::SLOW, |image| Ready::of(image)));
        Self { standing, images, ready, counter }
    }

    /// As a plan has it whose service is held; forced up is heeded all the same.
    pub(super) fn held(&self, held: &HeldAs) -> Self {
        let mut standing = self.standing.clone();
        if standing.hand != Hand::Up {
            standing.hold(held);
        }
        Self::new(standing, self.counter)
    }

    /// The image of `family` in a plan of that policy, and the same as a line to copy; none: it has no such address.
    pub(super) fn in_plan(&self, family: Family, policy: &Policy) -> Option<(Arc<Image>, Ready)> {
        let (image, ready) = (self.images[family as usize].as_ref()?, self.ready[family as usize]);
        let ttl = self.standing.ttl(policy);
        if ttl == image.ttl {
            return Some((image.clone(), ready));
        }
        let image = Image { ttl, ..Image::clone(image) };
        Some((Arc::new(image), Ready { ttl, ..ready }))
    }
}
