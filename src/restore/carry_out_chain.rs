//! A chain of backups is carried out: the older ones are read, and what has become of them all
//! is summed up.

use crate::manifest::{Algorithm, Hasher, Manifest, ManifestFile, ManifestWriter};
use crate::pages::{PageChecker, PagedFile};
use crate::repository::{KnownLimits, StoredManifest};
use crate::wal::ControlFile;

use super::carry_out::{Job, Observer, Work};
use super::check::{ManifestCheck, mismatch};
use super::combine::{CombinedFile, Combiner, LAYOUT, place, without_prefix};
use super::error::RestoreError;
use super::older::Older;
use super::path::InnerPath;
use super::sources::StoredBackup;
use super::tree::{Tree, TreeFile};
use super::unpack::{Origin, stays_behind};

const READ_BYTES: usize = 1 << 20;
/// Of a manifest, before it is written.
const TEXT_BYTES: usize = 256 << 10;

/// What a chain may get wrong because nobody knows where its relations were cut off.
pub(super) fn warn_of_unknown_limits(
    job: &Job<'_>,
    observer: &mut dyn Observer,
) -> Result<(), RestoreError> {
    let mut unknown = Vec::new();
    for info in [job.info].into_iter().chain(job.ancestors) {
        let why = KnownLimits::why_unknown(job.repository, job.layout, info)?;
        unknown.extend(why.map(|why| format!("{} ({why})", info.id)));
    }
    if !unknown.is_empty() {
        observer.warning(&format!(
            "it is not known where tables were cut off before incremental backup(s) {}: where one \
             became longer again before the same backup, deleted rows may come back, or new ones be \
             missing; a full backup has no such gap",
            unknown.join(", ")
        ));
    }
    Ok(())
}

impl<'j> Work<'_, 'j> {
    /// Reads the older backups, newer ones first, until nothing is missing. Writes the manifest
    /// of the result.
    pub(super) fn combine(
        &mut self,
        mut combiner: Combiner,
        newest: &ManifestCheck,
        control: &ControlFile,
        trees: &[(Origin, &Tree<'j>)],
        result: &mut TreeFile,
    ) -> Result<(), RestoreError> {
        combiner.end_of_newest();
        let page_size = LAYOUT.page_size.bytes() as u32;
        if control.block_size != page_size {
            return Err(RestoreError::PageSize(control.block_size));
        }
        // Which `backup` refuses to continue, but other programs do not.
        if control.segment_blocks != LAYOUT.segment_blocks {
            return Err(RestoreError::SegmentBlocks(control.segment_blocks));
        }
        let sources = self.sources;
        for (at, backup) in sources.older.iter().enumerate() {
            if !combiner.needs_more() {
                break;
            }
            let is_full = at + 1 == sources.older.len();
            let combining = Combining { combiner: &mut combiner, newest, trees };
            self.read_older(backup, is_full, combining, control)?;
            if let Some(at) = combiner.end_of_backup() {
                let (name, backup) = (result_name(newest, at), backup.id.to_string());
                return Err(RestoreError::NotInChain { name, backup });
            }
        }
        if let Some(at) = combiner.first_open() {
            // The full backup ends the search of every file that it has.
            let backup = sources.older.last().map_or(sources.newest.id, |backup| backup.id);
            let (name, backup) = (result_name(newest, at), backup.to_string());
            return Err(RestoreError::PartInFull { name, backup });
        }
        self.sum_up_all(&combiner, newest.manifest(), control, trees, result)
    }

    fn read_older(
        &mut self,
        backup: &StoredBackup,
        is_full: bool,
        mut combining: Combining<'_, 'j>,
        newest: &ControlFile,
    ) -> Result<(), RestoreError> {
        let disk = self.job.repository;
        let missing = || RestoreError::NoManifest(backup.id.to_string());
        let path = backup.manifest.as_ref().ok_or_else(missing)?;
        let manifest = StoredManifest::read(disk, path)?
            .map_err(|source| RestoreError::Manifest { path: path.clone(), source })?;
        if is_full && let Some(name) = first_part(&manifest) {
            let backup = backup.id.to_string();
            return Err(RestoreError::PartInFull { name, backup });
        }
        combining.combiner.limits = Some(KnownLimits::read(disk, self.job.layout, backup.id)?);
        let mut check = ManifestCheck::new(manifest);
        let main = (Origin::Main, &backup.main);
        let spaces = backup.tablespaces.iter();
        let spaces = spaces.map(|(oid, source)| (Origin::Tablespace(*oid), source));
        let mut control = None;
        for (origin, source) in [main].into_iter().chain(spaces) {
            let name = source.path().file_name().unwrap_or_default().to_string_lossy();
            let phase = format!("combining with {name} of {}", backup.id);
            self.begin_phase(&phase, source.length());
            let Combining { combiner, newest, trees } = &mut combining;
            let mut older = Older::new(combiner, newest, trees, origin, source.path(), &mut check);
            source.unpack(disk, &mut older, &mut |bytes| self.moved(bytes))?;
            control = control.or(older.into_control_file());
        }
        self.compare_control(backup, control, newest)
    }

    /// Both have to be of one cluster; that its checksums were switched is worth a word.
    fn compare_control(
        &mut self,
        backup: &StoredBackup,
        older: Option<Vec<u8>>,
        newest: &ControlFile,
    ) -> Result<(), RestoreError> {
        let path = backup.main.path();
        let older = older.ok_or_else(|| RestoreError::NoControlFile(path.to_owned()))?;
        let older = ControlFile::parse(&older)
            .map_err(|source| RestoreError::ControlFile { path: path.to_owned(), source })?;
        if older.system != newest.system {
            let (found, expected) = (older.system, newest.system);
            return Err(RestoreError::ForeignBackup { found, expected });
        }
        if older.data_checksums != newest.data_checksums {
            self.observer.warning(&format!(
                "data checksums were switched between backup {} and the newest: pages may have \
                 none where they should; switch them off and on again with pg_checksums before \
                 the server is started",
                backup.id
            ));
        }
        Ok(())
    }

    /// The manifest of the result. What was put together out of several backups is read once
    /// more, because its checksum was never known.
    fn sum_up_all(
        &mut self,
        combiner: &Combiner,
        newest: &Manifest,
        control: &ControlFile,
        trees: &[(Origin, &Tree<'j>)],
        result: &mut TreeFile,
    ) -> Result<(), RestoreError> {
        self.begin_phase("summing up what was combined", combiner.bytes_to_sum_up());
        let mut pages = PageChecker::new(LAYOUT, control.data_checksums);
        pages.start(self.plan.backup.range.begin);
        let mut writer = ManifestWriter::new(newest.system);
        for (at, file) in newest.files.iter().enumerate() {
            let listed = InnerPath::parse(file.path)?;
            if stays_behind(&listed) {
                continue;
            }
            if let Some(label) = combiner.label.as_ref().filter(|_| listed.is("backup_label")) {
                let mut hasher = Hasher::new(file.algorithm);
                hasher.update(label);
                let (size, checksum) = (label.len() as u64, hasher.finish());
                writer.file(&ManifestFile { size, checksum: checksum.as_bytes(), ..file });
            } else if let Some(name) = without_prefix(&listed) {
                // The manifest is held against the members before this.
                let missing = || RestoreError::NoManifest(self.plan.backup.id.to_string());
                let combined = combiner.get(at).ok_or_else(missing)?;
                let (path, size) = (name.as_bytes(), combined.length());
                match combiner.checksum(combined).filter(|(kind, _)| *kind == file.algorithm) {
                    Some((_, checksum)) => {
                        writer.file(&ManifestFile { path, size, checksum, ..file });
                    }
                    None => {
                        let found =
                            self.sum_up(&name, combined, file.algorithm, &mut pages, trees)?;
                        let checksum = found.as_bytes();
                        writer.file(&ManifestFile { path, size, checksum, ..file });
                    }
                }
            } else {
                writer.file(&file);
            }
            if writer.pending() >= TEXT_BYTES {
                result.write(&writer.take())?;
            }
        }
        result.write(&writer.finish(&newest.wal_ranges))?;
        if !pages.damaged().is_empty() {
            let damaged = pages.damaged();
            self.observer.warning(&format!("the combined backup holds damage: {damaged}"));
        }
        Ok(())
    }

    fn sum_up(
        &mut self,
        listed: &InnerPath,
        combined: &CombinedFile,
        algorithm: Algorithm,
        pages: &mut PageChecker,
        trees: &[(Origin, &Tree<'j>)],
    ) -> Result<crate::manifest::Checksum, RestoreError> {
        let mut hasher = Hasher::new(algorithm);
        if let Some(file) = PagedFile::at(listed.as_bytes()) {
            pages.begin(file);
        }
        let placed = place(listed).and_then(|(origin, name)| {
            let (_, tree) = trees.iter().find(|(other, _)| *other == origin)?;
            Some((name, tree))
        });
        let nowhere = || mismatch(listed, "nothing of it was restored".to_owned());
        let (name, tree) = placed.ok_or_else(nowhere)?;
        let file = tree.open(&name)?;
        let mut buffer = vec![0; READ_BYTES];
        let mut at = 0;
        loop {
            let read = file.read_at(&mut buffer, at)?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
            pages.push(&buffer[..read]);
            at += read as u64;
            self.moved(read as u64)?;
        }
        if let Some(modified) = combined.modified {
            file.set_modified(modified)?;
        }
        pages.end([b"", listed.as_bytes()]);
        Ok(hasher.finish())
    }
}

/// What an older backup is read for.
struct Combining<'c, 'j> {
    combiner: &'c mut Combiner,
    newest: &'c ManifestCheck,
    trees: &'c [(Origin, &'c Tree<'j>)],
}

/// The name of the file that the one listed there becomes, for messages.
fn result_name(newest: &ManifestCheck, at: usize) -> String {
    let listed = newest.manifest().files.get(at).and_then(|file| InnerPath::parse(file.path).ok());
    let name = listed.as_ref().and_then(without_prefix).or(listed);
    name.map(|name| name.to_text()).unwrap_or_default()
}

/// A part of a file that a manifest lists.
fn first_part(manifest: &Manifest) -> Option<String> {
    let is_part = |path: &[u8]| PagedFile::at(path).is_some_and(|file| file.incremental);
    let file = manifest.files.iter().find(|file| is_part(file.path))?;
    Some(String::from_utf8_lossy(file.path).into_owned())
}
