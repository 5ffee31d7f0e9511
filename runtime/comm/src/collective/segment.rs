//! The memory that the ranks of a node share: a file in /dev/shm that has no name any more once
//! all have it, so that nothing stays behind whatever happens to them.
//!
//! The first rank makes it, whole, so that a full /dev/shm is an error and no signal later; the
//! others open it by a name that only they were told, and only if it is their own user's.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::posix_fallocate;
use nix::libc;

pub(super) use self::ffi::Mapping;
use crate::{CommError, Result};

/// Where shared memory is.
const FOLDER: &str = "/dev/shm";

/// A name for the machine whose memory this process can share. Hosts of one name (containers)
/// are told apart by their boot, containers of one host by what they see as /dev/shm.
pub(super) fn host() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let memory = std::fs::metadata(FOLDER).map_or(0, |status| status.dev());
    format!("{}/{}/{memory}", name.to_string_lossy(), boot.trim())
}

/// A segment that still has a name.
#[derive(Debug)]
pub(super) struct Named {
    path: Name,
    mapping: Mapping,
}

/// A file that is removed with this.
#[derive(Debug)]
struct Name(PathBuf);

impl Named {
    /// What the others open.
    pub(super) fn path(&self) -> &Path {
        &self.path.0
    }

    /// Takes the name away: all have it, or nobody ever will.
    pub(super) fn into_mapping(self) -> Mapping {
        let Self { path, mapping } = self;
        drop(path);
        mapping
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Makes a segment of zeros.
pub(super) fn create(bytes: usize) -> Result<Named> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| CommError::SharedMemory {
            path,
            bytes,
            source,
        }
    };
    let random: [u8; 16] = crate::random::bytes().map_err(failed(Path::new(FOLDER)))?;
    let name = mizar_core::hex(random);
    let path = Path::new(FOLDER).join(format!("mizar-comm-{name}"));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(&path)
        .map_err(failed(&path))?;
    let mapped = posix_fallocate(file.as_fd(), 0, bytes as libc::off_t)
        .map_err(io::Error::from)
        .and_then(|()| Mapping::new(&file, bytes));
    match mapped {
        Ok(mapping) => Ok(Named {
            path: Name(path),
            mapping,
        }),
        Err(source) => {
            let _ = std::fs::remove_file(&path);
            Err(failed(&path)(source))
        }
    }
}

/// Opens what another rank of the same user has made.
pub(super) fn open(path: &Path, bytes: usize) -> Result<Mapping> {
    let check = |file: &File| -> io::Result<()> {
        let status = file.metadata()?;
        let is_ours = status.uid() == nix::unistd::geteuid().as_raw();
        if !is_ours || !status.is_file() || status.len() != bytes as u64 {
            return Err(io::Error::other(
                "not the segment that was made for this group",
            ));
        }
        Ok(())
    };
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(path)
        .and_then(|file| {
            check(&file)?;
            Mapping::new(&file, bytes)
        })
        .map_err(|source| CommError::SharedMemory {
            path: path.to_owned(),
            bytes,
            source,
        })
}

mod ffi {
    #![allow(unsafe_code, reason = "memory that other processes write")]

    use std::fs::File;
    use std::io;
    use std::num::NonZeroUsize;
    use std::ptr::NonNull;
    use std::sync::atomic::AtomicU64;

    use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

    use super::super::element::Element;

    /// Shared memory, mapped. Reading and writing go by offsets, which are checked.
    #[derive(Debug)]
    pub(in crate::collective) struct Mapping {
        start: NonNull<u8>,
        bytes: usize,
    }

    // SAFETY: the mapping is plain memory that lives as long as the value; who may touch which
    // part when is settled by flags between ranks (see node.rs), and they may be threads.
    unsafe impl Send for Mapping {}
    // SAFETY: as above.
    unsafe impl Sync for Mapping {}

    impl Mapping {
        pub(super) fn new(file: &File, bytes: usize) -> io::Result<Self> {
            let length = NonZeroUsize::new(bytes).ok_or(io::ErrorKind::InvalidInput)?;
            // SAFETY: a new mapping, wherever the system likes, of a file of that length which
            // nobody shortens.
            let start = unsafe {
                let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
                mmap(None, length, protection, MapFlags::MAP_SHARED, file, 0)
            }?;
            Ok(Self {
                start: start.cast(),
                bytes,
            })
        }

        fn at(&self, offset: usize, bytes: usize) -> NonNull<u8> {
            assert!(
                offset
                    .checked_add(bytes)
                    .is_some_and(|end| end <= self.bytes),
                "{offset} + {bytes} of {}",
                self.bytes
            );
            // SAFETY: within the mapping, as was just asked.
            unsafe { self.start.add(offset) }
        }

        /// A counter in shared memory.
        pub(in crate::collective) fn counter(&self, offset: usize) -> &AtomicU64 {
            assert!(offset.is_multiple_of(align_of::<AtomicU64>()));
            let place = self.at(offset, size_of::<AtomicU64>());
            // SAFETY: aligned, within the mapping, zeros at first, and used as a counter by all.
            unsafe { place.cast::<AtomicU64>().as_ref() }
        }

        /// Copies into shared memory.
        pub(in crate::collective) fn write<T: Element>(&self, offset: usize, values: &[T]) {
            let place = self.at(offset, size_of_val(values));
            // SAFETY: within the mapping; the flags say that nobody reads or writes this part
            // now, and `values` are the caller's own memory.
            unsafe {
                let from = values.as_ptr().cast::<u8>();
                place
                    .as_ptr()
                    .copy_from_nonoverlapping(from, size_of_val(values));
            }
        }

        /// Copies from shared memory.
        pub(in crate::collective) fn read<T: Element>(&self, offset: usize, values: &mut [T]) {
            let place = self.at(offset, size_of_val(values));
            // SAFETY: within the mapping; the flags say that nobody writes this part now, any
            // bits are a `T`, and `values` are the caller's own memory.
            unsafe {
                let to = values.as_mut_ptr().cast::<u8>();
                place
                    .as_ptr()
                    .copy_to_nonoverlapping(to, size_of_val(values));
            }
        }

        /// What lies in shared memory, while `look` looks at it.
        pub(in crate::collective) fn look<T: Element>(
            &self,
            offset: usize,
            length: usize,
            look: impl FnOnce(&[T]),
        ) {
            let place = self.at(offset, length * size_of::<T>());
            assert!(place.cast::<T>().is_aligned());
            // SAFETY: aligned, within the mapping, any bits are a `T`; the flags say that nobody
            // writes this part before the caller says that it has read it.
            look(unsafe { std::slice::from_raw_parts(place.cast::<T>().as_ptr(), length) });
        }
    }

    impl Drop for Mapping {
        fn drop(&mut self) {
            // SAFETY: mapped by `new`; all references into it have gone with the value.
            let _ = unsafe { munmap(self.start.cast(), self.bytes) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_shared_and_leaves_no_name_behind() {
        let made = create(8192).unwrap();
        let other = open(made.path(), 8192).unwrap();
        made.mapping.write(4096, &[1.0_f32, 2.0]);
        let mut read = [0.0_f32; 2];
        other.read(4096, &mut read);
        assert_eq!(read, [1.0, 2.0]);
        assert!(open(made.path(), 4096).is_err());
        let path = made.path().to_owned();
        let mapping = made.into_mapping();
        assert!(!path.exists());
        mapping.write(4096, &[3.0_f32]);
        other.look::<f32>(4096, 2, |values| assert_eq!(values, [3.0, 2.0]));
    }

    #[test]
    fn more_than_there_is_is_an_error_and_leaves_nothing() {
        let before = std::fs::read_dir(FOLDER).unwrap().count();
        let error = create(1 << 46).unwrap_err();
        assert!(error.to_string().contains("shared memory"), "{error}");
        assert!(std::fs::read_dir(FOLDER).unwrap().count() <= before + 1);
    }
}
