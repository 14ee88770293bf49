//! Names of files that hold pages of relations.

/// What the name of a file begins with that holds only the blocks that have changed.
pub const INCREMENTAL: &[u8] = b"INCREMENTAL.";

/// A file of a relation, as its name tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PagedFile {
    /// Which of its forks.
    pub fork: Fork,
    /// Which file of that fork, from 0: relations go on in a further file after 1 GB.
    pub segment: u32,
    /// The file holds changed blocks only, behind a header.
    pub incremental: bool,
}

/// A fork of a relation.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Fork {
    /// Its content.
    Main,
    /// The free space map.
    FreeSpace,
    /// The visibility map.
    Visibility,
    /// What an unlogged relation is reset to.
    Init,
}

impl PagedFile {
    /// What a path below the data directory leads to, where that holds pages: a relation in
    /// `base/<database>/`, `global/` or `pg_tblspc/<oid>/PG_<version>/<database>/`. Temporary
    /// relations, relation maps and whatever else stands there are `None`.
    pub fn at(path: &[u8]) -> Option<PagedFile> {
        let mut parts = path.split(|&byte| byte == b'/');
        match parts.next()? {
            b"global" => PagedFile::last(parts.next()?, parts.next()),
            b"base" => PagedFile::in_database(parts),
            b"pg_tblspc" => {
                number(parts.next()?)?;
                PagedFile::in_version(parts)
            }
            _ => None,
        }
    }

    /// The same for a path below the root of a tablespace.
    pub fn in_tablespace(path: &[u8]) -> Option<PagedFile> {
        PagedFile::in_version(path.split(|&byte| byte == b'/'))
    }

    fn in_version<'a>(mut parts: impl Iterator<Item = &'a [u8]>) -> Option<PagedFile> {
        parts.next()?.starts_with(b"PG_").then_some(())?;
        PagedFile::in_database(parts)
    }

    fn in_database<'a>(mut parts: impl Iterator<Item = &'a [u8]>) -> Option<PagedFile> {
        number(parts.next()?)?;
        PagedFile::last(parts.next()?, parts.next())
    }

    fn last(name: &[u8], more: Option<&[u8]>) -> Option<PagedFile> {
        if more.is_some() { None } else { PagedFile::named(name) }
    }

    /// Reads `<relfilenode>[_<fork>][.<segment>]`, with or without `INCREMENTAL.` before it.
    fn named(name: &[u8]) -> Option<PagedFile> {
        let (name, incremental) = match name.strip_prefix(INCREMENTAL) {
            Some(name) => (name, true),
            None => (name, false),
        };
        let (name, segment) = match name.iter().position(|&byte| byte == b'.') {
            Some(dot) => (&name[..dot], number(&name[dot + 1..])?),
            None => (name, 0),
        };
        let (name, fork) = match name.iter().position(|&byte| byte == b'_') {
            Some(bar) => (&name[..bar], Fork::named(&name[bar + 1..])?),
            None => (name, Fork::Main),
        };
        number(name)?;
        Some(PagedFile { fork, segment, incremental })
    }
}

impl Fork {
    fn named(name: &[u8]) -> Option<Fork> {
        match name {
            b"fsm" => Some(Fork::FreeSpace),
            b"vm" => Some(Fork::Visibility),
            b"init" => Some(Fork::Init),
            _ => None,
        }
    }
}

/// Decimal digits and nothing else.
fn number(text: &[u8]) -> Option<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    text.iter()
        .try_fold(0_u32, |value, digit| value.checked_mul(10)?.checked_add(u32::from(digit - b'0')))
}
