//! What takes the members of a stored backup, one by one.

use std::time::SystemTime;

use crate::tar::{Member, MemberKind};

use super::error::RestoreError;
use super::path::InnerPath;

/// Takes members: whole ones, or those of directories.
pub trait Members {
    /// A directory.
    fn directory(&mut self, name: &InnerPath, mode: u32) -> Result<(), RestoreError>;

    /// A symbolic link.
    fn link(&mut self, name: &InnerPath) -> Result<(), RestoreError>;

    /// A file of `size` bytes begins.
    fn file(
        &mut self,
        name: InnerPath,
        size: u64,
        mode: u32,
        modified: Option<SystemTime>,
    ) -> Result<(), RestoreError>;

    /// Content of the file that has begun.
    fn data(&mut self, bytes: &[u8]) -> Result<(), RestoreError>;

    /// The file that has begun is complete.
    fn end_of_file(&mut self) -> Result<(), RestoreError>;

    /// A member of an archive begins.
    fn member(&mut self, member: Member) -> Result<(), RestoreError> {
        let name = InnerPath::from(member.path);
        match member.kind {
            MemberKind::Directory => self.directory(&name, member.mode),
            MemberKind::Symlink(_) | MemberKind::TablespaceLink => self.link(&name),
            MemberKind::File => {
                let since_1970 = u64::try_from(member.modified).ok();
                let modified = since_1970.and_then(|seconds| {
                    SystemTime::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(seconds))
                });
                self.file(name, member.size, member.mode, modified)
            }
        }
    }
}
