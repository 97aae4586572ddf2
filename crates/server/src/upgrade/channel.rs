//! What the two processes of an upgrade say to each other, over a socket pair that only they have.
//!
//! A message is its kind, the number of descriptors with it, the length of its payload, and the payload. Descriptors follow
//! with one byte of their own, read alone, so that no read loses them. Both sides block, each with a deadline.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

/// Descriptors of one message; the kernel takes 253.
pub const DESCRIPTORS_MAX: usize = 64;
/// Longest payload: a slow socket's backlog is far shorter.
const PAYLOAD_BYTES_MAX: usize = 256 * 1024 * 1024;
const HEADER_BYTES: usize = 6;

/// The kinds of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// New to old: what it is. The old process checks it and stops serving.
    Hello = 1,
    /// New to old: it cannot, and why.
    Failed = 2,
    /// Old to new: listeners, named in the payload.
    Listeners = 3,
    /// Old to new: sockets with their states.
    Sockets = 4,
    /// Old to new: what the sockets have in common. Nothing more follows, and the old process has let go of everything.
    Complete = 5,
    /// New to old: it has opened everything and would serve.
    Ready = 6,
    /// Old to new: from here on the sockets are the new process's alone.
    Go = 7,
    /// New to old: it serves.
    Serving = 8,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        use Kind::{Complete, Failed, Go, Hello, Listeners, Ready, Serving, Sockets};
        [Hello, Failed, Listeners, Sockets, Complete, Ready, Go, Serving].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// A message.
#[derive(Debug)]
pub struct Message {
    pub kind: Kind,
    pub payload: Vec<u8>,
    pub descriptors: Vec<OwnedFd>,
}

/// One end.
#[derive(Debug)]
pub struct Channel {
    stream: UnixStream,
    deadline: Instant,
}

impl Channel {
    /// A channel on which everything has to be done by a moment.
    pub fn new(stream: UnixStream, deadline: Instant) -> Self {
        Self { stream, deadline }
    }

    /// Moves the deadline.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }

    /// Sends a message.
    pub fn send(&mut self, kind: Kind, payload: &[u8], descriptors: &[BorrowedFd<'_>]) -> anyhow::Result<()> {
        let count = u8::try_from(descriptors.len()).context("too many descriptors")?;
        let length = u32::try_from(payload.len()).context("too long a message")?;
        self.stream.set_write_timeout(self.left()?)?;
        let header = [&[kind as u8, count][..], &length.to_be_bytes()].concat();
        self.stream.write_all(&header)?;
        self.stream.write_all(payload)?;
        if !descriptors.is_empty() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            ensure!(control.push(SendAncillaryMessage::ScmRights(descriptors)), "too many descriptors");
            sendmsg(&self.stream, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
        }
        Ok(())
    }

    /// The next message; `None` when the other process has ended.
    pub fn receive(&mut self) -> anyhow::Result<Option<Message>> {
        let mut header = [0; HEADER_BYTES];
        match self.read_exact(&mut header) {
            Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => {
                return Ok(None);
            }
            read => read?,
        }
        let [kind, count, length @ ..] = header;
        let length = u32::from_be_bytes(length) as usize;
        let Some(kind) = Kind::of(kind) else { bail!("an unknown message, of kind {kind}") };
        ensure!(length <= PAYLOAD_BYTES_MAX, "a message of {length} bytes");
        let mut payload = vec![0; length];
        self.read_exact(&mut payload)?;
        let descriptors = if count == 0 { Vec::new() } else { self.descriptors(usize::from(count))? };
        Ok(Some(Message { kind, payload, descriptors }))
    }

    /// A read that is cut by the deadline in every part.
    fn read_exact(&mut self, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            self.stream.set_read_timeout(self.left()?)?;
            match self.stream.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => buffer = buffer.get_mut(n..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn descriptors(&mut self, count: usize) -> anyhow::Result<Vec<OwnedFd>> {
        self.stream.set_read_timeout(self.left()?)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(&self.stream, &mut [IoSliceMut::new(&mut byte)], &mut control, flags)?;
        ensure!(received.bytes == 1, "the other process ended");
        let rights = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        let descriptors: Vec<OwnedFd> = rights.flatten().collect();
        ensure!(descriptors.len() == count, "{} of {count} descriptors: is LimitNOFILE too low?", descriptors.len());
        Ok(descriptors)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn pair() -> (Channel, Channel) {
        let (one, other) = UnixStream::pair().expect("a pair");
        let deadline = Instant::now() + Duration::from_secs(30);
        (Channel::new(one, deadline), Channel::new(other, deadline))
    }

    #[test]
    fn descriptors_arrive_with_their_message() {
        let (mut old, mut new) = pair();
        let (one, mut other) = UnixStream::pair().expect("a pair");
        old.send(Kind::Hello, b"plain", &[]).expect("sent");
        old.send(Kind::Sockets, b"with two", &[one.as_fd(), one.as_fd()]).expect("sent");
        old.send(Kind::Complete, b"", &[]).expect("sent");
        let hello = new.receive().expect("read").expect("a message");
        assert_eq!((hello.kind, &hello.payload[..], hello.descriptors.len()), (Kind::Hello, &b"plain"[..], 0));
        let sockets = new.receive().expect("read").expect("a message");
        assert_eq!(
            (sockets.kind, &sockets.payload[..], sockets.descriptors.len()),
            (Kind::Sockets, &b"with two"[..], 2)
        );
        assert_eq!(new.receive().expect("read").expect("a message").kind, Kind::Complete);
        drop((old, one));
        assert!(new.receive().expect("read").is_none(), "the end");
        let mut arrived = UnixStream::from(sockets.descriptors.into_iter().next().expect("one"));
        arrived.write_all(b"x").expect("written");
        let mut byte = [0];
        other.read_exact(&mut byte).expect("read");
        assert_eq!(&byte, b"x");
    }

    #[test]
    fn a_silent_peer_and_nonsense_are_errors() {
        let (mut old, mut new) = pair();
        new.set_deadline(Instant::now() + Duration::from_millis(30));
        assert!(new.receive().is_err(), "nobody says anything");
        new.set_deadline(Instant::now() + Duration::from_secs(30));
        old.stream.write_all(b"GET / HTTP/1.1\r\n").expect("written");
        assert!(new.receive().expect_err("no message").to_string().contains("unknown"));
    }
}
