//! `/dev/net/tun`. Source: Linux, Documentation/networking/tuntap.rst, include/uapi/linux/if_tun.h.
#![allow(unsafe_code)]

use rustix::fs::{Mode, OFlags, open};
use rustix::ioctl::{IntegerSetter, Updater, ioctl};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const PATH: &str = "/dev/net/tun";
const SET_INTERFACE: rustix::ioctl::Opcode = 0x4004_54ca;
const SET_OFFLOAD: rustix::ioctl::Opcode = 0x4004_54d0;
/// A tap, no packet information, a virtio-net header.
const FLAGS: u16 = 0x0002 | 0x1000 | 0x4000;
/// The kernel may leave checksums of frames for the guest to us.
const OFFLOAD_CHECKSUMS: usize = 1;

/// `struct ifreq` as TUNSETIFF takes it.
#[repr(C)]
struct Interface {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// An interface of the kernel whose other end is here. It is gone when this is dropped.
#[derive(Debug)]
pub struct Tap {
    file: OwnedFd,
    name: String,
}

impl Tap {
    /// Makes an interface; `%d` in its name becomes a number that is free.
    ///
    /// # Errors
    /// As the kernel says; with what to do if it has no tap devices.
    pub fn open(name: &str) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = open(PATH, flags, Mode::empty()).map_err(|error| {
            let what = format!("{PATH}: {error}; the kernel module is `tun`");
            io::Error::new(io::Error::from(error).kind(), what)
        })?;
        let mut interface = Interface {
            name: [0; 16],
            flags: FLAGS,
            rest: [0; 22],
        };
        let room = interface.name.len() - 1;
        if name.is_empty() || name.len() > room {
            let what = format!("an interface's name has 1 to {room} bytes: {name:?}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        interface.name[..name.len()].copy_from_slice(name.as_bytes());
        // SAFETY: TUNSETIFF reads and writes a `struct ifreq`, which has 40 bytes, as `Interface` has.
        unsafe { ioctl(&file, Updater::<SET_INTERFACE, _>::new(&mut interface)) }?;
        // SAFETY: TUNSETOFFLOAD takes its flags as the argument itself; this is one of them.
        unsafe {
            ioctl(
                &file,
                IntegerSetter::<SET_OFFLOAD>::new_usize(OFFLOAD_CHECKSUMS),
            )
        }?;
        let end = interface.name.iter().position(|&b| b == 0);
        let name = String::from_utf8_lossy(&interface.name[..end.unwrap_or(room)]).into_owned();
        Ok(Self { file, name })
    }

    /// What the kernel calls the interface.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads a header and a frame; none if there is none now.
    pub(crate) fn read(&self, bytes: &mut [u8]) -> io::Result<Option<usize>> {
        match rustix::io::read(&self.file, bytes) {
            Ok(length) => Ok(Some(length)),
            Err(rustix::io::Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a header and a frame, which lie one behind the other.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        rustix::io::write(&self.file, bytes)?;
        Ok(())
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
