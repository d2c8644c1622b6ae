//! Threads of the C library, of a runtime and of the kernel.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use nix::unistd;
use rcap::{CapSet, CapState, ambient, bounding, no_new_privs, proc::Status, threads::Limits};

use super::{KEEP, Stop, assert_limited, beside, statuses};

pub(crate) fn the_ids_of_the_c_library_afterwards() {
    beside(4, || {
        let root = unistd::Uid::from_raw(0);
        for _ in 0..20 {
            Limits::to(KEEP).apply().unwrap();
            // This aborts the process if the threads differ.
            unistd::setresuid(root, root, root).unwrap();
            assert_eq!(unistd::setgroups(&[]), Err(nix::errno::Errno::EPERM));
        }
        assert_limited(&Limits::to(KEEP));
    });
    // The same while threads change.
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let root = unistd::Uid::from_raw(0);
            while !stop.load(Ordering::Relaxed) {
                unistd::setresuid(root, root, root).unwrap();
                // Each call signals all other threads, which would otherwise do nothing.
                thread::sleep(Duration::from_micros(100));
            }
        });
        let _stop = Stop(&stop);
        for _ in 0..100 {
            Limits::to(KEEP).apply().unwrap();
        }
    });
}

pub(crate) fn the_groups_of_the_c_library_afterwards() {
    beside(4, || {
        let limits = Limits::to(KEEP).bounding(CapSet::empty());
        limits.apply().unwrap();
        let nobody = 65534;
        unistd::setgroups(&[]).unwrap();
        let [gid, uid] = [unistd::Gid::from_raw(nobody), unistd::Gid::from_raw(nobody)];
        unistd::setresgid(gid, gid, uid).unwrap();
        let uid = unistd::Uid::from_raw(nobody);
        unistd::setresuid(uid, uid, uid).unwrap();
        assert_eq!(statuses().len(), 5);
        for status in statuses() {
            assert_eq!(
                (status.uid.real, status.gid.saved, status.groups),
                (nobody, nobody, vec![])
            );
            assert_eq!((status.caps, status.bounding), (CapState::EMPTY, CapSet::empty()));
        }
    });
}

pub(crate) fn a_runtime_under_load() {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
        time,
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).await.is_ok() {
                        stream.write_all(&byte).await.unwrap();
                    }
                });
            }
        });
        let clients: Vec<_> = (0..20_u8)
            .map(|client| {
                tokio::spawn(async move {
                    let mut stream = TcpStream::connect(address).await.unwrap();
                    for turn in 0..200_u8 {
                        stream.write_all(&[turn ^ client]).await.unwrap();
                        let mut byte = [0];
                        stream.read_exact(&mut byte).await.unwrap();
                        assert_eq!(byte, [turn ^ client]);
                        if turn % 50 == 0 {
                            time::sleep(Duration::from_millis(2)).await;
                        }
                        if turn % 20 == 0 {
                            tokio::task::spawn_blocking(thread::yield_now).await.unwrap();
                        }
                    }
                })
            })
            .collect();
        time::sleep(Duration::from_millis(5)).await;
        let limits = Limits::to(KEEP).no_new_privs();
        let report = tokio::task::spawn_blocking(move || limits.apply()).await.unwrap().unwrap();
        assert!(report.threads >= 5, "{report:?}");
        assert_limited(&limits);
        for client in clients {
            client.await.unwrap();
        }
        assert_limited(&limits);
    });
}

/// A kernel thread that has the process's capabilities and takes no signals.
#[expect(unsafe_code, reason = "the C library has no io_uring_setup(2)")]
pub(crate) fn a_thread_of_io_uring() {
    // struct io_uring_params, with IORING_SETUP_SQPOLL
    let mut params = [0_u32; 30];
    params[2] = 1 << 1;
    // SAFETY: the kernel reads and writes 120 bytes.
    let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, 4, params.as_mut_ptr()) };
    if ring < 0 {
        let err = io::Error::last_os_error();
        let forbidden = [libc::ENOSYS, libc::EPERM].map(Some);
        assert!(forbidden.contains(&err.raw_os_error()), "{err}");
        return; // forbidden on this machine
    }
    // It sets its own name.
    let of_the_ring = |status: &Status| status.name.to_string_lossy().starts_with("iou-");
    let tid = loop {
        if let Some(status) = statuses().iter().find(|status| of_the_ring(status)) {
            break status.pid;
        }
        thread::yield_now();
    };
    let before = statuses();
    let err = Limits::to(KEEP).apply().unwrap_err();
    assert_eq!(err.to_string(), format!("cannot send a signal to thread {tid}"));
    assert_eq!(err.raw_os_error(), Some(libc::EOPNOTSUPP));
    assert_eq!(statuses(), before);
    // If nothing needs to be dropped, it is not an obstacle.
    assert_eq!(Limits::to(CapSet::all()).apply().unwrap().threads, 2);
    assert!(!no_new_privs::is_set().unwrap());
    assert_eq!(bounding::current().unwrap(), CapSet::supported());
    assert_eq!(ambient::current().unwrap(), CapSet::empty());
}
