//! A folder of files, each a window on a disk, as the kernel asks for them (FUSE).

use disk::Disk;
use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, LockOwner, OpenFlags,
    ReplyAttr, ReplyData, ReplyDirectory, ReplyEntry, Request,
};
use std::ffi::OsStr;
use std::sync::Mutex;
use std::time::{Duration, UNIX_EPOCH};

/// How long the kernel may believe an answer. Nothing changes here.
const TIME_TO_LIVE: Duration = Duration::from_secs(3600);
/// Inode of the first window; the folder is 1.
const FIRST_INODE: u64 = 2;

/// A file of the folder: bytes of the disk.
pub struct Window {
    /// Name in the folder.
    pub name: String,
    /// First byte of the disk.
    pub start: u64,
    /// Bytes.
    pub length: u64,
}

/// The folder.
pub struct Files {
    disk: Mutex<Box<dyn Disk>>,
    windows: Vec<Window>,
}

impl Files {
    /// Windows that lie within the disk.
    pub fn new(disk: Box<dyn Disk>, windows: Vec<Window>) -> Self {
        let disk = Mutex::new(disk);
        Self { disk, windows }
    }

    fn window(&self, inode: INodeNo) -> Option<&Window> {
        let index = inode.0.checked_sub(FIRST_INODE)?;
        self.windows.get(usize::try_from(index).ok()?)
    }

    fn attributes(&self, inode: INodeNo) -> Option<FileAttr> {
        if inode == INodeNo::ROOT {
            return Some(attributes(inode, FileType::Directory, 0o555, 0));
        }
        let window = self.window(inode)?;
        Some(attributes(
            inode,
            FileType::RegularFile,
            0o444,
            window.length,
        ))
    }

    fn bytes(&self, inode: INodeNo, offset: u64, length: u32) -> Result<Vec<u8>, Errno> {
        let window = self.window(inode).ok_or(Errno::ENOENT)?;
        let left = window.length.saturating_sub(offset);
        let mut data = vec![0; left.min(length.into()) as usize];
        let mut disk = self.disk.lock().map_err(|_| Errno::EIO)?;
        disk.read(window.start + offset.min(window.length), &mut data)
            .map_err(|error| {
                eprintln!("error: {}: {error}", window.name);
                Errno::EIO
            })?;
        Ok(data)
    }
}

fn attributes(ino: INodeNo, kind: FileType, perm: u16, size: u64) -> FileAttr {
    FileAttr {
        ino,
        size,
        blocks: size.div_ceil(512),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

impl Filesystem for Files {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let index = self
            .windows
            .iter()
            .position(|window| OsStr::new(&window.name) == name);
        let found = index
            .filter(|_| parent == INodeNo::ROOT)
            .and_then(|index| self.attributes(INodeNo(index as u64 + FIRST_INODE)));
        match found {
            Some(attributes) => reply.entry(&TIME_TO_LIVE, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(inode) {
            Some(attributes) => reply.attr(&TIME_TO_LIVE, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.bytes(inode, offset, size) {
            Ok(data) => reply.data(&data),
            Err(error) => reply.error(error),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        if inode != INodeNo::ROOT {
            return reply.error(Errno::ENOTDIR);
        }
        let folders = [".", ".."].map(|name| (INodeNo::ROOT, FileType::Directory, name));
        let files = (FIRST_INODE..)
            .zip(&self.windows)
            .map(|(inode, window)| (INodeNo(inode), FileType::RegularFile, window.name.as_str()));
        let entries = (1..).zip(folders.into_iter().chain(files));
        for (next, (inode, kind, name)) in entries.filter(|(next, _)| *next > offset) {
            if reply.add(inode, next, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}
