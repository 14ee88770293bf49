//! One header: 512 bytes that announce a member.

use super::{BLOCK, MemberPath, PathProblem, TarError};

/// A member of an archive.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 100 | name, ended by a zero byte if it is shorter |
/// | 100, 108, 116 | 8 | mode, owner, group: octal text |
/// | 124, 136 | 12 | size, time: octal text, or 0x80 and 11 bytes big-endian |
/// | 148 | 8 | checksum: sum of all bytes, this field taken as spaces |
/// | 156 | 1 | type: `0` file, `5` directory, `2` symbolic link |
/// | 157 | 100 | target of the link |
/// | 257 | 8 | `ustar`, zero byte, `00` |
/// | 265, 297 | 32 | names of owner and group |
/// | 345 | 155 | more name, to stand before the other with a slash; servers leave it empty |
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Member {
    /// Relative to the root of the archive.
    pub path: MemberPath,
    /// What it is.
    pub kind: MemberKind,
    /// Bytes of content; 0 unless it is a file.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner on the server.
    pub uid: u64,
    /// Group on the server.
    pub gid: u64,
    /// Time of the last change, in seconds since 1970; servers write those before as the
    /// same bits unsigned.
    pub modified: i64,
}

/// The kinds of members that servers send.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MemberKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link to a path that is relative and leads nowhere outside.
    Symlink(MemberPath),
    /// `pg_tblspc/<oid>`: the link to a tablespace, as servers send it that were not asked for
    /// `tablespace_map`. It leads anywhere; where is not said, because nobody may follow it.
    TablespaceLink,
}

const NAME_MAX: usize = 99;
const CHECKSUM: std::ops::Range<usize> = 148..156;
/// The largest size that can be added up without care: 8 EiB.
const SIZE_MAX: u64 = i64::MAX as u64 - BLOCK as u64;

impl Member {
    /// Decodes the header that stands at `offset` of its archive.
    pub fn parse(bytes: &[u8; BLOCK], offset: u64) -> Result<Member, TarError> {
        let computed = checksum(bytes);
        let stored = number(&bytes[CHECKSUM]).ok_or(TarError::Number { offset, field: "checksum" });
        let stored = stored?;
        if stored != computed {
            return Err(TarError::Checksum { offset, stored, computed });
        }
        let header = tar::Header::from_byte_slice(bytes);
        let header = header.as_ustar().ok_or(TarError::Magic { offset })?;
        let field = |bytes: &[u8], field| number(bytes).ok_or(TarError::Number { offset, field });
        let raw = raw_name(&header.name, &header.prefix);
        let shown = || String::from_utf8_lossy(&raw).into_owned();
        let name = |problem| TarError::Name { offset, path: shown(), problem };
        let found = header.typeflag[0];
        let is_file = found == b'0';
        let path = MemberPath::new(trim_slash(&raw, is_file).map_err(name)?).map_err(name)?;
        let kind = match found {
            b'0' => MemberKind::File,
            b'5' => MemberKind::Directory,
            b'2' if is_of_tablespace(&path) => MemberKind::TablespaceLink,
            b'2' => {
                let raw = raw_name(&header.linkname, &[]);
                let target = trim_slash(&raw, false).and_then(MemberPath::new);
                MemberKind::Symlink(target.map_err(|problem| {
                    let target = String::from_utf8_lossy(&raw).into_owned();
                    TarError::Target { offset, path: shown(), target, problem }
                })?)
            }
            _ => {
                let found = char::from(found);
                return Err(TarError::Type { offset, path: shown(), found });
            }
        };
        let size = field(&header.size, "size")?;
        if size > SIZE_MAX {
            return Err(TarError::Number { offset, field: "size" });
        }
        if size > 0 && kind != MemberKind::File {
            return Err(TarError::Content { offset, path: shown(), size });
        }
        Ok(Member {
            path,
            kind,
            size,
            mode: (field(&header.mode, "mode")? & 0o7777) as u32,
            uid: field(&header.uid, "owner")?,
            gid: field(&header.gid, "group")?,
            modified: field(&header.mtime, "time")?.cast_signed(),
        })
    }

    /// Writes the header as PostgreSQL does.
    pub fn encode(&self) -> Result<[u8; BLOCK], TarError> {
        let too_long = |field| TarError::TooLong { path: self.path.to_string(), field };
        let mut header = tar::Header::new_ustar();
        let fields = header.as_ustar_mut().ok_or_else(|| too_long("format"))?;
        let slash = if self.kind == MemberKind::File { "" } else { "/" };
        put_name(&mut fields.name, &self.path, slash).ok_or_else(|| too_long("name"))?;
        fields.typeflag = [match &self.kind {
            MemberKind::File => b'0',
            MemberKind::Directory => b'5',
            MemberKind::Symlink(target) => {
                put_name(&mut fields.linkname, target, "").ok_or_else(|| too_long("target"))?;
                b'2'
            }
            MemberKind::TablespaceLink => b'2',
        }];
        put_octal(&mut fields.mode, u64::from(self.mode)).ok_or_else(|| too_long("mode"))?;
        put_number(&mut fields.uid, self.uid);
        put_number(&mut fields.gid, self.gid);
        put_number(&mut fields.size, self.size);
        put_number(&mut fields.mtime, self.modified.cast_unsigned());
        fields.uname[..8].copy_from_slice(b"postgres");
        fields.gname[..8].copy_from_slice(b"postgres");
        put_octal(&mut fields.dev_major, 0).ok_or_else(|| too_long("device"))?;
        put_octal(&mut fields.dev_minor, 0).ok_or_else(|| too_long("device"))?;
        let mut bytes = *header.as_bytes();
        let sum = checksum(&bytes);
        // Six digits always suffice: 512 * 255 is below 8^6.
        bytes[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        Ok(bytes)
    }
}

fn is_of_tablespace(path: &MemberPath) -> bool {
    let oid = path.as_bytes().strip_prefix(b"pg_tblspc/");
    oid.is_some_and(|oid| !oid.is_empty() && oid.iter().all(u8::is_ascii_digit))
}

/// The sum over all bytes, with the field of the sum itself taken as spaces.
fn checksum(bytes: &[u8; BLOCK]) -> u64 {
    let sum = |bytes: &[u8]| bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>();
    let blank = CHECKSUM.len() as u64 * u64::from(b' ');
    sum(&bytes[..CHECKSUM.start]) + blank + sum(&bytes[CHECKSUM.end..])
}

/// A number: octal digits between blanks and zero bytes, or base-256 behind 0x80. `None` for
/// anything else, signs and negative values included.
fn number(field: &[u8]) -> Option<u64> {
    let (&first, rest) = field.split_first()?;
    if first == 0x80 {
        let mut value = 0_u64;
        for &byte in rest {
            value = value.checked_mul(256)?.checked_add(u64::from(byte))?;
        }
        return Some(value);
    }
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    let (text, behind) = field.split_at(end);
    let digits = text.trim_ascii();
    if behind.iter().any(|&byte| byte != 0 && byte != b' ') || digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, &digit| {
        let digit = (b'0'..=b'7').contains(&digit).then(|| u64::from(digit - b'0'))?;
        value.checked_mul(8)?.checked_add(digit)
    })
}

/// The name in its field, what follows its end included if that is not zeros, so that nothing
/// can hide there; with the prefix before it.
fn raw_name(name: &[u8], prefix: &[u8]) -> Vec<u8> {
    let text = |field: &[u8]| -> Vec<u8> {
        let end = field.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        field[..end].to_vec()
    };
    let (name, prefix) = (text(name), text(prefix));
    if prefix.is_empty() { name } else { [prefix, vec![b'/'], name].concat() }
}

/// Directories and links end with a slash in the server's headers; a file must not.
fn trim_slash(name: &[u8], is_file: bool) -> Result<&[u8], PathProblem> {
    match name.strip_suffix(b"/") {
        Some(_) if is_file => Err(PathProblem::Slash),
        // "/" alone stays what it is: absolute.
        Some(rest) if !rest.is_empty() => Ok(rest),
        _ => Ok(name),
    }
}

fn put_name(field: &mut [u8; 100], path: &MemberPath, slash: &str) -> Option<()> {
    let name = [path.as_bytes(), slash.as_bytes()].concat();
    if name.len() > NAME_MAX {
        return None;
    }
    field[..name.len()].copy_from_slice(&name);
    Some(())
}

/// Octal digits and a space at the end, as `print_tar_number` in `src/port/tar.c` writes them.
fn put_octal(field: &mut [u8], value: u64) -> Option<()> {
    let width = field.len() - 1;
    let text = format!("{value:0width$o} ");
    (text.len() == field.len()).then(|| field.copy_from_slice(text.as_bytes()))
}

fn put_number(field: &mut [u8], value: u64) {
    if put_octal(field, value).is_none() {
        let length = field.len();
        field.fill(0);
        field[0] = 0x80;
        let bytes = value.to_be_bytes();
        // Fields of 8 bytes have room for 7: owners beyond 2^56 do not exist.
        let kept = bytes.len().min(length - 1);
        field[length - kept..].copy_from_slice(&bytes[bytes.len() - kept..]);
    }
}
