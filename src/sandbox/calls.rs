//! Which system calls the process makes: seccomp.
//!
//! A list of what is allowed, modelled on systemd's `@system-service` and cut down to what a server on
//! tokio, rustls and jemalloc does, so that what is new in a kernel is forbidden until someone needs
//! it. All else gets ENOSYS, 'the kernel has no such call': a library that tries a newer call falls back
//! to an older one then (glibc and musl do after nothing but ENOSYS), and what cannot fall back fails
//! with an error in the log. Killing the process instead would end the service over a call that a
//! library update brought.
//!
//! So no program is started, no process is traced or entered, nothing is mounted, no module, BPF
//! program or key is loaded, no user is changed, no io_uring is set up. Rules look at no argument,
//! which lets the kernel keep what it decided by number and ask no program again (since Linux 5.11).

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// Installs the list for all threads.
///
/// # Errors
/// The kernel has no seccomp, or one of another kind; this processor has no list.
pub(super) fn restrict() -> Result<(), seccompiler::Error> {
    seccompiler::apply_filter_all_threads(&program()?)
}

fn program() -> Result<BpfProgram, seccompiler::Error> {
    let rules: BTreeMap<i64, Vec<_>> = allowed().map(|call| (call, Vec::new())).collect();
    let missing = SeccompAction::Errno(libc::ENOSYS as u32);
    let processor = std::env::consts::ARCH.try_into()?;
    Ok(SeccompFilter::new(rules, missing, SeccompAction::Allow, processor)?.try_into()?)
}

fn allowed() -> impl Iterator<Item = i64> {
    let groups: [&[libc::c_long]; 8] = [MEMORY, THREADS, SIGNALS, CLOCKS, FILES, EVENTS, NETWORK, OLDER];
    groups.into_iter().flatten().copied().chain(NEWER)
}

const MEMORY: &[libc::c_long] = &[
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mincore,
    libc::SYS_mlock,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_msync,
    libc::SYS_munlock,
    libc::SYS_munmap,
];

/// `clone` also makes processes, but none of another program.
const THREADS: &[libc::c_long] = &[
    libc::SYS_capget,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_get_robust_list,
    libc::SYS_getcpu,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getgroups,
    libc::SYS_getpgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getpriority,
    libc::SYS_getrandom,
    libc::SYS_getresgid,
    libc::SYS_getresuid,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_prctl,
    libc::SYS_prlimit64,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getattr,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_setpriority,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_wait4,
    libc::SYS_waitid,
];

const SIGNALS: &[libc::c_long] = &[
    libc::SYS_kill,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_sigaltstack,
    libc::SYS_signalfd4,
    libc::SYS_tgkill,
    libc::SYS_tkill,
];

const CLOCKS: &[libc::c_long] = &[
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getitimer,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    libc::SYS_setitimer,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_gettime,
    libc::SYS_timerfd_settime,
    libc::SYS_times,
];

/// Landlock says which files.
const FILES: &[libc::c_long] = &[
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_copy_file_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fallocate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fcntl,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_rm_watch,
    libc::SYS_ioctl,
    libc::SYS_lseek,
    libc::SYS_mkdirat,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_pipe2,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_sync_file_range,
    libc::SYS_umask,
    libc::SYS_unlinkat,
    libc::SYS_utimensat,
    libc::SYS_write,
    libc::SYS_writev,
];

const EVENTS: &[libc::c_long] = &[
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
];

const NETWORK: &[libc::c_long] = &[
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_listen,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_socket,
    libc::SYS_socketpair,
];

/// What newer processors' kernels have under other names alone.
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[libc::c_long] = &[];
#[cfg(target_arch = "x86_64")]
const OLDER: &[libc::c_long] = &[
    libc::SYS_access,
    libc::SYS_alarm,
    libc::SYS_arch_prctl,
    libc::SYS_chmod,
    libc::SYS_creat,
    libc::SYS_dup2,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_getpgrp,
    libc::SYS_getrlimit,
    libc::SYS_inotify_init,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_open,
    libc::SYS_pause,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_rmdir,
    libc::SYS_select,
    libc::SYS_stat,
    libc::SYS_time,
    libc::SYS_unlink,
];

/// By number where `libc` has no name for all systems, the same on all processors: `epoll_pwait2`,
/// `futex_waitv`, `fchmodat2`, `map_shadow_stack`, `futex_wake`, `futex_wait`, `futex_requeue`, `mseal`.
const NEWER: [i64; 8] = [441, 449, 452, 453, 454, 455, 456, 462];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_call_is_listed_once_and_none_that_breaks_out() {
        let list: Vec<i64> = allowed().collect();
        let allowed: BTreeSet<i64> = list.iter().copied().collect();
        assert_eq!(list.len(), allowed.len());
        for forbidden in [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_chroot,
            libc::SYS_pivot_root,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_bpf,
            libc::SYS_perf_event_open,
            libc::SYS_userfaultfd,
            libc::SYS_kexec_load,
            libc::SYS_init_module,
            libc::SYS_finit_module,
            libc::SYS_delete_module,
            libc::SYS_keyctl,
            libc::SYS_add_key,
            libc::SYS_request_key,
            libc::SYS_io_uring_setup,
            libc::SYS_reboot,
            libc::SYS_settimeofday,
            libc::SYS_clock_settime,
            libc::SYS_setuid,
            libc::SYS_setresuid,
            libc::SYS_setgroups,
            libc::SYS_capset,
            libc::SYS_swapon,
            libc::SYS_open_by_handle_at,
            libc::SYS_personality,
        ] {
            assert!(!allowed.contains(&forbidden), "{forbidden}");
        }
    }

    #[test]
    fn the_list_is_a_program_that_the_kernel_takes() {
        let program = program().unwrap();
        assert!((100..4096).contains(&program.len()), "{}", program.len());
    }

    #[test]
    fn a_thread_that_is_held_serves_on_and_starts_nothing() {
        let held = std::thread::spawn(|| {
            seccompiler::apply_filter(&program().unwrap()).map_err(|error| error.to_string())?;
            let started = std::process::Command::new("true").status().map_err(|error| error.raw_os_error());
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").map(drop).map_err(|error| error.kind());
            let read = std::fs::read("/proc/self/stat").map(drop).map_err(|error| error.kind());
            let thread = std::thread::spawn(|| 7).join().ok();
            Ok::<_, String>((started, socket, read, thread))
        });
        match held.join().unwrap() {
            Ok((started, socket, read, thread)) => {
                assert_eq!(started, Err(Some(libc::ENOSYS)));
                assert_eq!((socket, read, thread), (Ok(()), Ok(()), Some(7)));
            }
            Err(why) => println!("skipped: this kernel takes no filter: {why}"),
        }
    }
}
