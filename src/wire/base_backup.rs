//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//!
//! The BASE_BACKUP stream, the same for both of its forms: one CopyOut an archive (10 to 14),
//! or one for everything with sub-messages (15 and later).
//!
//! Knows the wire only: archives are bytes here, tar or compressed. Every name was checked
//! against the tablespace list before it leaves this file.
//! Source: manual, "Streaming Replication Protocol", BASE_BACKUP.

use std::path::PathBuf;

use bytes::{Buf, Bytes, BytesMut};

use super::archive_list::ArchiveList;
use super::frame::HEADER;
use super::{
    BackendMessage, BackupPosition, BaseBackupOptions, CompressionAlgorithm, Frame, FrameReader,
    ManifestOption, Notice, ParameterStatus, ResultSet, ServerError, ServerVersion, SqlState,
    Tablespace, Tag, WireError,
};
use crate::wal::{Lsn, Timeline};

/// The longest head of an archive, `n`: two names, each below the 1024 bytes of a path on the
/// server.
const ARCHIVE_HEAD_MAX: u32 = 4_096;

/// What happened in the stream.
#[derive(Clone, Debug, PartialEq)]
pub enum BackupEvent {
    /// The checkpoint is done: WAL is needed from here on.
    Start {
        /// Its redo position.
        lsn: Lsn,
        /// The timeline.
        timeline: Timeline,
    },
    /// What will come: an archive for each, the data directory last.
    Tablespaces(Vec<Tablespace>),
    /// An archive begins; all data up to its end is its bytes.
    ArchiveBegin {
        /// `base.tar` or `<oid>.tar`, with the suffix of the server's compression.
        name: String,
        /// `None` for the data directory.
        tablespace: Option<u32>,
        /// Where the tablespace is on the server.
        location: Option<PathBuf>,
    },
    /// Bytes of the current archive, a slice of the read buffer.
    ArchiveData(Bytes),
    /// The current archive is complete.
    ArchiveEnd,
    /// The manifest begins.
    ManifestBegin,
    /// Bytes of the manifest.
    ManifestData(Bytes),
    /// The manifest is complete.
    ManifestEnd,
    /// Bytes that the server has processed over all archives, before compression (15 and
    /// later).
    Progress(u64),
    /// The server remarks something: failed checksums, waiting for the archiver.
    Notice(Notice),
    /// A setting changed.
    Parameter(ParameterStatus),
    /// All data has come. The backup is not good before [`BackupEvent::Ready`]: failed
    /// checksums are reported after this.
    End {
        /// Up to where WAL is needed.
        lsn: Lsn,
        /// On a standby perhaps newer than that of the start.
        timeline: Timeline,
    },
    /// The server has sent everything, but found pages whose checksums are wrong.
    /// [`BackupEvent::Ready`] follows, and vouches for the transfer only.
    Damaged(ServerError),
    /// The server vouches for all of it; the session is ready for another command.
    Ready,
}

/// The client's half of a base backup, from BASE_BACKUP on.
#[derive(Debug)]
pub struct BackupStream {
    reader: FrameReader,
    phase: Phase,
    one_copy: bool,
    manifest: bool,
    compression: Option<CompressionAlgorithm>,
    archives: ArchiveList,
    /// What the current CopyOut carries.
    part: Part,
    /// `Some` from the head of a CopyData of the new form until its kind is read.
    head_due: Option<u32>,
    result: Option<ResultSet>,
    /// The event after the one just given: the end of one archive and the begin of the next
    /// arrive as one message.
    pending: Option<BackupEvent>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// The start position is due: after the checkpoint, which may take minutes.
    Start,
    /// The tablespace list is due.
    Tablespaces,
    /// A CopyOut, or the end position, is due.
    BetweenCopies,
    /// Inside a CopyOut.
    Copying,
    /// ReadyForQuery is due.
    Verdict,
    /// Nothing more is due.
    Ended,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Part {
    Nothing,
    Archive,
    Manifest,
    /// The manifest has come; no archive may follow.
    AfterManifest,
}

impl BackupStream {
    /// The stream that answers BASE_BACKUP with these options on a server of this version.
    pub fn new(version: ServerVersion, options: &BaseBackupOptions) -> BackupStream {
        BackupStream {
            phase: Phase::Start,
            one_copy: version.sends_one_copy_for_all_archives(),
            manifest: options.manifest != ManifestOption::No,
            compression: options.compression.as_ref().map(|compression| compression.algorithm),
            ..BackupStream::ended()
        }
    }

    /// A stream in which nothing is due: what stands where another is away.
    pub fn ended() -> BackupStream {
        BackupStream {
            reader: FrameReader::new(),
            phase: Phase::Ended,
            one_copy: false,
            manifest: false,
            compression: None,
            archives: ArchiveList::default(),
            part: Part::Nothing,
            head_due: None,
            result: None,
            pending: None,
        }
    }

    /// In the middle of an archive, as 15 and later send it.
    #[cfg(test)]
    pub(crate) fn in_archive() -> BackupStream {
        BackupStream {
            phase: Phase::Copying,
            one_copy: true,
            part: Part::Archive,
            ..BackupStream::ended()
        }
    }

    /// What the server is waited for, for a message when it takes long.
    pub fn waits_for(&self) -> &'static str {
        match self.phase {
            Phase::Start => "checkpoint",
            Phase::Tablespaces => "list of tablespaces",
            Phase::BetweenCopies | Phase::Copying => "data",
            Phase::Verdict | Phase::Ended => "end of the backup",
        }
    }

    /// How many bytes of the current archive come next, before anything else, when `next` has
    /// used up its buffer and said `None`. They may be read from the socket to where they are to
    /// stay, and are then not to be seen by `next`, but told to [`BackupStream::pass`].
    pub fn archive_data_due(&self) -> u32 {
        match (self.part, self.head_due) {
            (Part::Archive, None) if self.pending.is_none() => self.reader.copy_left(),
            _ => 0,
        }
    }

    /// So many bytes of the archive that were due have come another way; no more than were due.
    pub fn pass(&mut self, length: u32) {
        self.reader.pass(length);
    }

    /// The length of what stands before the data of an archive in each message: its type and
    /// length, and the kind where messages of several kinds come (15 and later).
    pub fn data_head(&self) -> usize {
        HEADER + usize::from(self.one_copy)
    }

    /// The next event, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`WireError::Refused`] at any point, also after [`BackupEvent::End`]: the backup is then
    /// not good; damaged pages alone are [`BackupEvent::Damaged`]. An archive that the tablespace list does not have, a missing part, and any
    /// violation of the protocol.
    pub fn next(&mut self, input: &mut BytesMut) -> Result<Option<BackupEvent>, WireError> {
        if let Some(event) = self.pending.take() {
            return Ok(Some(event));
        }
        loop {
            if let Some(length) = self.head_due {
                match self.head(length, input)? {
                    Head::Incomplete => return Ok(None),
                    Head::Event(event) => return Ok(Some(event)),
                    Head::Data => {}
                }
            }
            match self.reader.next(input)? {
                None => return Ok(None),
                Some(Frame::CopyPiece(bytes)) if self.part == Part::Manifest => {
                    return Ok(Some(BackupEvent::ManifestData(bytes)));
                }
                Some(Frame::CopyPiece(bytes)) => return Ok(Some(BackupEvent::ArchiveData(bytes))),
                Some(Frame::CopyData { length }) => {
                    if self.phase != Phase::Copying {
                        return Err(self.unexpected(Tag(b'd')));
                    }
                    self.head_due = self.one_copy.then_some(length);
                }
                Some(Frame::Message { tag, body }) => {
                    let message = BackendMessage::parse(tag, body)?;
                    if let Some(event) = self.control(tag, message)? {
                        return Ok(Some(event));
                    }
                }
            }
        }
    }

    /// The kind of a CopyData of the new form, and what stands behind it.
    fn head(&mut self, length: u32, input: &mut BytesMut) -> Result<Head, WireError> {
        let malformed = |what| WireError::Malformed { tag: Tag(b'd'), what };
        if length == 0 {
            return Err(malformed("backup message without a kind"));
        }
        let Some(kind) = self.reader.peek(input) else { return Ok(Head::Incomplete) };
        let in_archives = !matches!(self.part, Part::Manifest | Part::AfterManifest);
        let head_length = match kind {
            b'd' if self.part == Part::Nothing => {
                return Err(malformed("data before the first archive"));
            }
            b'd' => 1,
            b'n' if !in_archives => return Err(malformed("archive after the manifest")),
            b'n' if length > ARCHIVE_HEAD_MAX => {
                return Err(malformed("head of an archive is too long"));
            }
            b'n' => length,
            b'p' if length != 9 => return Err(malformed("progress is not 9 bytes long")),
            b'p' => length,
            b'm' if length != 1 => return Err(malformed("bytes after the start of the manifest")),
            b'm' if !in_archives || !self.manifest => return Err(malformed("unasked manifest")),
            b'm' => length,
            kind => return Err(WireError::UnknownKind { kind }),
        };
        let Some(mut head) = self.reader.take(input, head_length) else {
            return Ok(Head::Incomplete);
        };
        self.head_due = None;
        head.advance(1);
        match kind {
            b'd' => Ok(Head::Data),
            b'p' => Ok(Head::Event(BackupEvent::Progress(head.get_u64()))),
            b'n' => {
                let begin = self.archives.begin_named(&head)?;
                Ok(Head::Event(self.begin(Part::Archive, begin)))
            }
            _ => {
                self.check_archives()?;
                Ok(Head::Event(self.begin(Part::Manifest, BackupEvent::ManifestBegin)))
            }
        }
    }

    /// Ends the part before, if there is one, and begins the next.
    fn begin(&mut self, part: Part, begin: BackupEvent) -> BackupEvent {
        let before = std::mem::replace(&mut self.part, part);
        if before == Part::Archive {
            self.pending = Some(begin);
            return BackupEvent::ArchiveEnd;
        }
        begin
    }

    fn control(
        &mut self,
        tag: Tag,
        message: BackendMessage,
    ) -> Result<Option<BackupEvent>, WireError> {
        match (self.phase, message) {
            (Phase::Ended, _) => return Err(self.unexpected(tag)),
            (_, BackendMessage::Notice(notice)) => return Ok(Some(BackupEvent::Notice(notice))),
            (_, BackendMessage::ParameterStatus(status)) => {
                return Ok(Some(BackupEvent::Parameter(status)));
            }
            (Phase::Verdict, BackendMessage::Error(error)) if is_damage(&error) => {
                return Ok(Some(BackupEvent::Damaged(error)));
            }
            (_, BackendMessage::Error(error)) => {
                self.phase = Phase::Ended;
                return Err(WireError::Refused(error));
            }
            (
                Phase::Start | Phase::Tablespaces | Phase::BetweenCopies,
                BackendMessage::RowDescription(columns),
            ) if self.result.is_none() => {
                self.result = Some(ResultSet { columns, rows: Vec::new() });
            }
            (_, BackendMessage::DataRow(row)) => self.add(tag, row)?,
            (Phase::Verdict, BackendMessage::CommandComplete(_)) => {}
            (_, BackendMessage::CommandComplete(_)) => return self.complete(tag),
            (Phase::BetweenCopies, BackendMessage::CopyOut) if self.result.is_none() => {
                let begin = if self.one_copy { None } else { Some(self.begin_old(tag)?) };
                self.phase = Phase::Copying;
                return Ok(begin);
            }
            (Phase::Copying, BackendMessage::CopyDone) => return self.copy_done(),
            (Phase::Verdict, BackendMessage::ReadyForQuery(_)) => {
                self.phase = Phase::Ended;
                return Ok(Some(BackupEvent::Ready));
            }
            _ => return Err(self.unexpected(tag)),
        }
        Ok(None)
    }

    fn add(&mut self, tag: Tag, row: super::DataRow) -> Result<(), WireError> {
        // A cluster has some tablespaces; a hostile server must not fill our memory.
        const ROWS_MAX: usize = 100_000;
        match &mut self.result {
            Some(result) if result.rows.len() < ROWS_MAX => result.rows.push(row),
            Some(_) => return Err(WireError::Malformed { tag, what: "too many tablespaces" }),
            None => return Err(self.unexpected(tag)),
        }
        Ok(())
    }

    /// A result set is complete; which one, the phase says.
    fn complete(&mut self, tag: Tag) -> Result<Option<BackupEvent>, WireError> {
        let Some(result) = self.result.take() else { return Err(self.unexpected(tag)) };
        Ok(Some(match self.phase {
            Phase::Start => {
                let BackupPosition { lsn, timeline } = BackupPosition::try_from(&result)?;
                self.phase = Phase::Tablespaces;
                BackupEvent::Start { lsn, timeline }
            }
            Phase::Tablespaces => {
                let list = Tablespace::list(&result)?;
                self.archives = ArchiveList::new(&list, self.compression);
                self.phase = Phase::BetweenCopies;
                BackupEvent::Tablespaces(list)
            }
            _ => {
                self.check_archives()?;
                self.check_manifest()?;
                let BackupPosition { lsn, timeline } = BackupPosition::try_from(&result)?;
                self.phase = Phase::Verdict;
                BackupEvent::End { lsn, timeline }
            }
        }))
    }

    /// A CopyOut of the old form: the next archive, or, after all of them, the manifest.
    fn begin_old(&mut self, tag: Tag) -> Result<BackupEvent, WireError> {
        if let Some(begin) = self.archives.begin_next() {
            self.part = Part::Archive;
            return Ok(begin);
        }
        if !self.manifest || self.part == Part::AfterManifest {
            return Err(self.unexpected(tag));
        }
        self.part = Part::Manifest;
        Ok(BackupEvent::ManifestBegin)
    }

    fn copy_done(&mut self) -> Result<Option<BackupEvent>, WireError> {
        self.phase = Phase::BetweenCopies;
        let (after, event) = match self.part {
            Part::Archive => (Part::Nothing, BackupEvent::ArchiveEnd),
            Part::Manifest => (Part::AfterManifest, BackupEvent::ManifestEnd),
            Part::Nothing | Part::AfterManifest => return Ok(None),
        };
        self.part = after;
        Ok(Some(event))
    }

    fn check_archives(&self) -> Result<(), WireError> {
        match self.archives.missing() {
            Some(name) => Err(WireError::MissingArchive { name }),
            None => Ok(()),
        }
    }

    fn check_manifest(&self) -> Result<(), WireError> {
        if self.manifest && self.part != Part::AfterManifest {
            return Err(WireError::NoManifest);
        }
        Ok(())
    }

    fn unexpected(&self, got: Tag) -> WireError {
        let expected = match self.phase {
            Phase::Start => "the start position of the backup",
            Phase::Tablespaces => "the list of tablespaces",
            Phase::BetweenCopies => "an archive or the end position",
            Phase::Copying => "data of the backup",
            Phase::Verdict => "the end of the backup",
            Phase::Ended => "nothing more",
        };
        WireError::Unexpected { got, expected }
    }
}

/// Whether an error at the end is only the server's word that its own pages are damaged.
fn is_damage(error: &ServerError) -> bool {
    error.code == SqlState::DATA_CORRUPTED && !error.is_fatal()
}

/// What the head of a CopyData of the new form was.
enum Head {
    Incomplete,
    Event(BackupEvent),
    Data,
}
