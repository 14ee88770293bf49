//! Many files in little memory: paths and checksums end to end in one buffer.

use super::{Algorithm, Checksum};

/// A list of files, about 40 bytes each beside their paths and checksums.
#[derive(Clone, Debug, Default)]
pub struct FileTable {
    /// Path, then checksum, of one file after the other.
    text: Vec<u8>,
    rows: Vec<Row>,
    /// Times that are not written the usual way, by the index of their file, ascending.
    odd_times: Vec<(usize, Box<str>)>,
}

#[derive(Clone, Debug)]
struct Row {
    /// Where in `text` the path begins; the checksum follows it.
    path: usize,
    path_length: u32,
    algorithm: Algorithm,
    encoded: bool,
    size: u64,
    modified: i64,
}

/// One file of a list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ManifestFile<'a> {
    /// Relative to the data directory; not always UTF-8.
    pub path: &'a [u8],
    /// Written as `Encoded-Path`, which paths in other encodings always are.
    pub encoded: bool,
    /// Bytes that were sent.
    pub size: u64,
    /// Time of the last change.
    pub modified: Modified<'a>,
    /// How it was summed up.
    pub algorithm: Algorithm,
    /// As many bytes as the algorithm has.
    pub checksum: &'a [u8],
}

/// `Last-Modified`, which nobody depends on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Modified<'a> {
    /// Seconds since 1970, written `2026-11-23 06:27:32 GMT`.
    Seconds(i64),
    /// Any other text.
    Text(&'a str),
}

impl FileTable {
    /// An empty list.
    pub fn new() -> FileTable {
        FileTable::default()
    }

    /// Appends a file. Nothing is checked.
    pub fn push(&mut self, file: &ManifestFile<'_>) {
        let modified = match file.modified {
            Modified::Seconds(seconds) => seconds,
            Modified::Text(text) => {
                self.odd_times.push((self.rows.len(), text.into()));
                0
            }
        };
        self.rows.push(Row {
            path: self.text.len(),
            // A path of 4 GiB does not exist; one that claims to be is not compared in full.
            path_length: u32::try_from(file.path.len()).unwrap_or(u32::MAX),
            algorithm: file.algorithm,
            encoded: file.encoded,
            size: file.size,
            modified,
        });
        self.text.extend_from_slice(file.path);
        self.text.extend_from_slice(file.checksum);
    }

    /// Appends a file that passed, given in parts so that a tablespace's prefix and the name
    /// in its archive need not be joined first.
    pub fn push_passed(
        &mut self,
        path: [&[u8]; 2],
        size: u64,
        algorithm: Algorithm,
        checksum: Checksum,
    ) {
        let start = self.text.len();
        self.text.extend_from_slice(path[0]);
        self.text.extend_from_slice(path[1]);
        let path_length = u32::try_from(self.text.len() - start).unwrap_or(u32::MAX);
        self.text.extend_from_slice(checksum.as_bytes());
        let (encoded, modified) = (false, 0);
        self.rows.push(Row { path: start, path_length, algorithm, encoded, size, modified });
    }

    /// How many files.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The files in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = ManifestFile<'_>> {
        (0..self.rows.len()).filter_map(|index| self.get(index))
    }

    /// The file at an index.
    pub fn get(&self, index: usize) -> Option<ManifestFile<'_>> {
        let row = self.rows.get(index)?;
        let rest = self.text.get(row.path..)?;
        let (path, rest) = rest.split_at_checked(row.path_length as usize)?;
        let odd = self.odd_times.binary_search_by_key(&index, |(index, _)| *index).ok();
        Some(ManifestFile {
            path,
            encoded: row.encoded,
            size: row.size,
            modified: odd.map_or(Modified::Seconds(row.modified), |odd| {
                Modified::Text(&self.odd_times[odd].1)
            }),
            algorithm: row.algorithm,
            checksum: rest.get(..row.algorithm.length())?,
        })
    }

    /// The indices in the order of the paths.
    pub fn by_path(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.rows.len()).collect();
        order.sort_unstable_by_key(|&index| self.path(index));
        order
    }

    /// The path at an index that there is.
    ///
    /// # Panics
    /// There is none.
    pub fn path(&self, index: usize) -> &[u8] {
        let row = &self.rows[index];
        &self.text[row.path..row.path + row.path_length as usize]
    }
}
