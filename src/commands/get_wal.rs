//! `get-wal`: one WAL file, for `restore_command`.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Outcome, Site};
use crate::codec::Packing;
use crate::disk::{self, Disk, DiskError, DiskFile};
use crate::output::{Failure, Reporter, binary};
use crate::repository::ServerLayout;
use crate::restore::RestoreError;
use crate::restore::get_wal::{Form, FoundWal};
use crate::restore::shelf::Shelf;
use crate::wal::WalFileName;

/// Arguments of `get-wal`.
#[derive(Args, Clone, Debug)]
pub struct GetWalArgs {
    /// The server
    #[arg(value_name = "SERVER")]
    pub server: String,
    /// A segment, a history file or a backup label
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Write the file into this directory instead of standard output
    #[arg(short = 'o', long, value_name = "DIRECTORY")]
    pub output_directory: Option<PathBuf>,
    /// Also take the segment that is still being received
    #[arg(short = 'P', long)]
    pub partial: bool,
    /// Send it packed with gzip
    #[arg(short = 'z', visible_short_alias = 'x', long)]
    pub gzip: bool,
    /// Send it packed with bzip2
    #[arg(short = 'j', long)]
    pub bzip2: bool,
    /// Send it as it is stored
    #[arg(long)]
    pub keep_compression: bool,
    /// Only print up to so many names that are there, from this one on
    #[arg(short = 'p', long, value_name = "NUMBER")]
    pub peek: Option<usize>,
    /// Only say whether the connection works
    #[arg(short = 't', long)]
    pub test: bool,
}

/// Sends the file, or does the smaller thing that was asked for.
pub fn run(args: &GetWalArgs, site: &Site, out: &mut Reporter) -> Outcome {
    let server = site.server(&args.server)?;
    let server_name = &server.name;
    let form = form(args)?;
    if args.test {
        let ready = format!("Ready to retrieve WAL files from the server {server_name}");
        out.info(ready);
        return Ok(0);
    }
    let name: WalFileName = args.name.parse().map_err(|_| {
        let what = format!("'{}' is not a valid wal file name", args.name);
        Failure::new(what).exit_code(BAD_ARGUMENT)
    })?;
    let layout = ServerLayout::new(server);
    let shelf = Shelf { disk: site.disk.as_ref(), layout: &layout };
    let fails = |error: RestoreError| {
        let what = format!("cannot get WAL file '{name}' of server '{server_name}'");
        Failure::because(what, &error).hint(error.hint())
    };
    if let Some(count) = args.peek {
        for name in shelf.peek(name, count).map_err(fails)? {
            out.info(name);
        }
        return Ok(0);
    }
    let found = shelf.find_wal(name, args.partial).map_err(fails)?.ok_or_else(|| {
        Failure::new(format!("WAL file '{name}' not found in server '{server_name}'"))
    })?;
    match &args.output_directory {
        None => {
            let mut stdout = binary();
            found.send(form, &mut stdout).map_err(fails)?;
            stdout.flush().map_err(|error| fails(RestoreError::Send(error)))?;
        }
        Some(directory) => {
            let path = directory.join(name.to_string());
            out.info(format_args!(
                "Sending WAL '{name}' for server '{server_name}' into '{}' file",
                path.display()
            ));
            write_file(site.disk.as_ref(), &path, found, form)?.map_err(fails)?;
        }
    }
    Ok(0)
}

fn form(args: &GetWalArgs) -> Result<Form, Failure> {
    let clash = |left, right| {
        Err(Failure::new(format!("argument `{left}` not allowed with argument `{right}`")))
    };
    match (args.gzip, args.bzip2, args.keep_compression) {
        (true, _, true) => clash("gzip", "keep-compression"),
        (_, true, true) => clash("bzip2", "keep-compression"),
        (true, true, _) => clash("bzip2", "gzip"),
        (true, ..) => Ok(Form::Packed(Packing::GZIP)),
        (_, true, _) => match Packing::BZIP2 {
            Some(packing) => Ok(Form::Packed(packing)),
            None => Err(Failure::new("this program was built without legacy-codecs: no bzip2")),
        },
        (_, _, true) => Ok(Form::Stored),
        _ => Ok(Form::Plain),
    }
}

/// Under a name of its own until it is whole: the server must never read a part of a segment.
fn write_file(
    disk: &dyn Disk,
    path: &Path,
    found: FoundWal,
    form: Form,
) -> Result<Result<(), RestoreError>, Failure> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let target = disk.create(&temporary, 0o600).map_err(|error| {
        let what = format!("Unable to open '{}' file", path.display());
        Failure::because(what, &error).exit_code(BAD_ARGUMENT)
    })?;
    let mut sink = FileSink { file: target.as_ref(), at: 0 };
    let sent = found.send(form, &mut sink).and_then(|()| {
        target.sync_all()?;
        Ok(disk::rename(disk, &temporary, path)?)
    });
    if sent.is_err() {
        // Best effort: the error that is already on its way says more than this one.
        let _ = disk.remove_file(&temporary);
    }
    Ok(sent)
}

struct FileSink<'a> {
    file: &'a dyn DiskFile,
    at: u64,
}

impl Write for FileSink<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write_all_at(bytes, self.at).map_err(|DiskError { source, .. }| source)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Barman's code for a name that cannot be, and for an output that cannot be written.
const BAD_ARGUMENT: u8 = 3;
