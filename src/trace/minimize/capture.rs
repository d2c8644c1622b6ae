//! The output of a run, which is read but not kept, so its size does not affect memory.

use std::{
    fs::File,
    hash::{DefaultHasher, Hasher},
    io::{self, Read},
    os::fd::AsFd,
    thread::{self, JoinHandle},
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::stat::{Mode, fchmod},
    unistd::pipe2,
};

#[cfg(feature = "cli")]
use super::Output;

/// The number of bytes at the end of a stream that are kept, to find the last line.
const TAIL: usize = 4096;
/// The size of a read.
const CHUNK: usize = 64 * 1024;
/// The number of bytes read after the run is over, from processes that could not be killed.
const REST: usize = 1 << 20;

/// The part of a stream that has been read.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    length: u64,
    hash: DefaultHasher,
    tail: Vec<u8>,
}

impl Stream {
    fn push(&mut self, bytes: &[u8]) {
        self.length = self.length.saturating_add(bytes.len() as u64);
        self.hash.write(bytes);
        let new = &bytes[bytes.len().saturating_sub(TAIL)..];
        let old = self.tail.len().min(TAIL - new.len());
        self.tail.drain(..self.tail.len() - old);
        self.tail.extend(new);
    }

    #[cfg(feature = "cli")]
    pub(crate) fn output(&self) -> Output {
        Output { length: self.length, hash: self.hash.finish() }
    }

    /// Returns the last line that is not empty, if there is one. A line that is too long is
    /// shortened to its end, after an ellipsis.
    pub(crate) fn last_line(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.tail);
        let whole = self.length == self.tail.len() as u64;
        let lines = text.lines().enumerate().map(|(at, line)| (at > 0 || whole, line.trim()));
        let (whole, line) = lines.filter(|(_, line)| !line.is_empty()).last()?;
        Some(if whole { line.to_owned() } else { format!("\u{2026}{line}") })
    }
}

/// A thread that reads the standard output and standard error of a run.
#[derive(Debug)]
pub(crate) struct Capture {
    thread: JoinHandle<[Stream; 2]>,
    /// Closed when the run is over.
    stop: File,
}

impl Capture {
    /// Starts reading. Returns the write ends of standard output and standard error. This process
    /// must close them for the streams to end.
    pub(crate) fn start() -> io::Result<(Capture, [File; 2])> {
        let (out, write_out) = pipe()?;
        let (err, write_err) = pipe()?;
        let (stopped, stop) = pipe()?;
        for end in [&write_out, &write_err] {
            // A program that has changed its user opens /dev/stderr again.
            fchmod(end, Mode::from_bits_truncate(0o666))?;
        }
        let thread = thread::Builder::new().spawn(move || drain([out, err], &stopped))?;
        Ok((Capture { thread, stop }, [write_out, write_err]))
    }

    /// Returns standard output and standard error, when the run is over.
    pub(crate) fn finish(self) -> [Stream; 2] {
        let Capture { thread, stop } = self;
        drop(stop);
        thread.join().unwrap_or_default()
    }
}

/// Returns the ends of a pipe. (std has this only since Rust 1.87.)
fn pipe() -> io::Result<(File, File)> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    Ok((read.into(), write.into()))
}

/// Reads both streams to their ends, or until the other side of `stopped` is closed and everything
/// written before was read.
fn drain(pipes: [File; 2], stopped: &File) -> [Stream; 2] {
    let mut streams = <[Stream; 2]>::default();
    let mut pipes = pipes.map(Some);
    let mut chunk = vec![0; CHUNK];
    let mut rest: Option<usize> = None;
    while pipes.iter().any(Option::is_some) && rest != Some(0) {
        let open: Vec<usize> = (0..2).filter(|&at| pipes[at].is_some()).collect();
        let mut waits: Vec<PollFd<'_>> = pipes
            .iter()
            .flatten()
            .chain(rest.is_none().then_some(stopped))
            .map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN))
            .collect();
        let pause = if rest.is_some() { PollTimeout::ZERO } else { PollTimeout::NONE };
        match poll(&mut waits, pause) {
            Ok(0) => break,
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(_) => break,
        }
        let ready: Vec<bool> = waits.iter().map(|wait| wait.any().unwrap_or(true)).collect();
        for (&at, _) in open.iter().zip(&ready).filter(|(_, ready)| **ready) {
            let Some(pipe) = &mut pipes[at] else { continue };
            match pipe.read(&mut chunk) {
                Ok(0) => pipes[at] = None,
                Ok(length) => {
                    streams[at].push(&chunk[..length]);
                    rest = rest.map(|rest| rest.saturating_sub(length));
                }
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => pipes[at] = None,
            }
        }
        if rest.is_none() && ready.get(open.len()) == Some(&true) {
            rest = Some(REST);
        }
    }
    streams
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn stream(parts: &[&[u8]]) -> Stream {
        let mut stream = Stream::default();
        for part in parts {
            stream.push(part);
        }
        stream
    }

    #[test]
    fn last_lines() {
        let long = [b"x".repeat(TAIL * 3), b"end".to_vec()].concat();
        let cut = format!("\u{2026}{}end", "x".repeat(TAIL - 3));
        #[rustfmt::skip]
        let rows: [(&[&[u8]], Option<&str>); 7] = [
            (&[b"a\nb \n\n"],                Some("b")),
            (&[b"\n \n"],                    None),
            (&[],                            None),
            (&[b"a\nl", b"ine\n"],           Some("line")),
            (&[&long],                       Some(&cut)),
            (&[&long, b"\nshort\n"],         Some("short")),
            (&[&b"\n".repeat(TAIL * 2)],     None),
        ];
        for (parts, want) in rows {
            assert_eq!(stream(parts).last_line().as_deref(), want);
        }
    }

    #[cfg(feature = "cli")]
    #[test]
    fn outputs_are_compared_whole() {
        let all = b"0123456789".repeat(TAIL);
        let whole = stream(&[&all]);
        for size in [1, 7, TAIL - 1, TAIL, TAIL + 1] {
            let parts: Vec<&[u8]> = all.chunks(size).collect();
            let parted = stream(&parts);
            assert_eq!(parted.output(), whole.output(), "{size}");
            assert_eq!(parted.tail, whole.tail, "{size}");
        }
        let mut other = all.clone();
        other[0] = b'x';
        assert_ne!(stream(&[&other]).output(), whole.output());
        assert_ne!(stream(&[&all, b"x"]).output(), whole.output());
    }

    #[test]
    fn both_streams_are_read_to_their_ends() {
        let (capture, [mut out, mut err]) = Capture::start().unwrap();
        let writer = thread::spawn(move || {
            out.write_all(&b"o".repeat(64 * CHUNK)).unwrap();
            out.write_all(b"\nlast\n").unwrap();
        });
        err.write_all(b"error\n").unwrap();
        drop(err);
        writer.join().unwrap();
        let [out, err] = capture.finish();
        assert_eq!(out.length, 64 * CHUNK as u64 + 6);
        assert_eq!(out.last_line().as_deref(), Some("last"));
        assert_eq!(err.last_line().as_deref(), Some("error"));
    }

    /// Reading ends even if an unkillable process keeps its end open.
    #[test]
    fn an_end_that_stays_open() {
        let (capture, [mut out, err]) = Capture::start().unwrap();
        out.write_all(b"so far\n").unwrap();
        assert_eq!(capture.finish()[0].last_line().as_deref(), Some("so far"));
        drop((out, err));
    }
}
