//! The messages of a server, for tests and for the scripted one.

use tapster::wal::{Lsn, PgTimestamp};

/// Any message: type, length, body.
pub fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    out.extend((body.len() as u32 + 4).to_be_bytes());
    out.extend(body);
    out
}

fn strings(texts: &[&str]) -> Vec<u8> {
    texts.iter().flat_map(|text| text.bytes().chain([0])).collect()
}

/// `R` with a code and what belongs to it.
pub fn authentication(code: u32, data: &[u8]) -> Vec<u8> {
    message(b'R', &[&code.to_be_bytes(), data].concat())
}

/// `R` 10 with names of mechanisms.
pub fn sasl(mechanisms: &[&str]) -> Vec<u8> {
    authentication(10, &[strings(mechanisms), vec![0]].concat())
}

/// `S`
pub fn parameter(name: &str, value: &str) -> Vec<u8> {
    message(b'S', &strings(&[name, value]))
}

/// `K`
pub fn key() -> Vec<u8> {
    message(b'K', &[0, 0, 0x30, 0x39, 0xAA, 0xBB, 0xCC, 0xDD])
}

/// `Z`
pub fn ready() -> Vec<u8> {
    message(b'Z', b"I")
}

/// All that follows a successful authentication, for a server that calls itself `version`.
pub fn session(version: &str) -> Vec<u8> {
    [
        parameter("integer_datetimes", "on"),
        parameter("server_version", version),
        parameter("TimeZone", "Etc/UTC"),
        key(),
        ready(),
    ]
    .concat()
}

/// A login without any question.
pub fn trust(version: &str) -> Vec<u8> {
    [authentication(0, &[]), session(version)].concat()
}

/// `T`, all columns of the type text.
pub fn columns(names: &[&str]) -> Vec<u8> {
    let mut body = (names.len() as u16).to_be_bytes().to_vec();
    for name in names {
        body.extend(strings(&[name]));
        // No table, no attribute; type text; variable length; no modifier; text format.
        body.extend(super::hex("00000000 0000 00000019 ffff ffffffff 0000"));
    }
    message(b'T', &body)
}

/// `D`
pub fn row(values: &[Option<&[u8]>]) -> Vec<u8> {
    let mut body = (values.len() as u16).to_be_bytes().to_vec();
    for value in values {
        match value {
            None => body.extend((-1i32).to_be_bytes()),
            Some(value) => {
                body.extend((value.len() as u32).to_be_bytes());
                body.extend(*value);
            }
        }
    }
    message(b'D', &body)
}

/// `D` of texts.
pub fn text_row(values: &[&str]) -> Vec<u8> {
    let values: Vec<Option<&[u8]>> = values.iter().map(|text| Some(text.as_bytes())).collect();
    row(&values)
}

/// `C`
pub fn complete(tag: &str) -> Vec<u8> {
    message(b'C', &strings(&[tag]))
}

/// `T`, one row of texts, `C`.
pub fn one_row(values: &[(&str, &str)], tag: &str) -> Vec<u8> {
    let names: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
    let texts: Vec<&str> = values.iter().map(|(_, text)| *text).collect();
    [columns(&names), text_row(&texts), complete(tag)].concat()
}

/// `E`
pub fn error(severity: &str, code: &str, text: &str) -> Vec<u8> {
    message(b'E', &fields(severity, code, text))
}

/// `N`
pub fn notice(severity: &str, code: &str, text: &str) -> Vec<u8> {
    message(b'N', &fields(severity, code, text))
}

fn fields(severity: &str, code: &str, text: &str) -> Vec<u8> {
    // As a server with German messages sends them: only V and C can be relied on.
    let translated = if severity == "ERROR" { "FEHLER" } else { severity };
    let fields =
        [('S', translated), ('V', severity), ('C', code), ('M', text), ('R', "SomeRoutine")];
    let mut body: Vec<u8> =
        fields.iter().flat_map(|(field, text)| strings(&[&format!("{field}{text}")])).collect();
    body.push(0);
    body
}

/// `G`, `H` or `W`, without columns.
pub fn copy_response(tag: u8) -> Vec<u8> {
    message(tag, &[0, 0, 0])
}

/// `W`
pub fn copy_both() -> Vec<u8> {
    copy_response(b'W')
}

/// `H`
pub fn copy_out() -> Vec<u8> {
    copy_response(b'H')
}

/// `d`
pub fn copy_data(payload: &[u8]) -> Vec<u8> {
    message(b'd', payload)
}

/// `c`
pub fn copy_done() -> Vec<u8> {
    message(b'c', &[])
}

/// XLogData in CopyData. The end of the server's WAL is where this message ends.
pub fn xlog_data(start: Lsn, wal: &[u8]) -> Vec<u8> {
    let end = start.0 + wal.len() as u64;
    let sent_at = PgTimestamp(0x0003_03EA_751D_F56A);
    let head: &[&[u8]] =
        &[b"w", &start.0.to_be_bytes(), &end.to_be_bytes(), &sent_at.0.to_be_bytes(), wal];
    copy_data(&head.concat())
}

/// A keepalive in CopyData.
pub fn keepalive(end: Lsn, reply_now: bool) -> Vec<u8> {
    let sent_at = 0x0003_03EA_751D_F56A_u64;
    let parts: &[&[u8]] =
        &[b"k", &end.0.to_be_bytes(), &sent_at.to_be_bytes(), &[u8::from(reply_now)]];
    copy_data(&parts.concat())
}

/// The result set at the end of a timeline, with both of its completions.
pub fn next_timeline(timeline: u32, switchpoint: Lsn) -> Vec<u8> {
    let (timeline, switchpoint) = (timeline.to_string(), switchpoint.to_string());
    [
        one_row(&[("next_tli", &timeline), ("next_tli_startpos", &switchpoint)], "START_STREAMING"),
        complete("START_REPLICATION"),
        ready(),
    ]
    .concat()
}

/// The answer to IDENTIFY_SYSTEM.
pub fn identify_system(identifier: u64, timeline: u32, position: Lsn) -> Vec<u8> {
    let (identifier, timeline) = (identifier.to_string(), timeline.to_string());
    let position = position.to_string();
    [
        columns(&["systemid", "timeline", "xlogpos", "dbname"]),
        row(&[
            Some(identifier.as_bytes()),
            Some(timeline.as_bytes()),
            Some(position.as_bytes()),
            None,
        ]),
        complete("IDENTIFY_SYSTEM"),
        ready(),
    ]
    .concat()
}

/// The answer to SHOW.
pub fn show(name: &str, value: &str) -> Vec<u8> {
    [one_row(&[(name, value)], "SHOW"), ready()].concat()
}

/// The row with the start or the end of a base backup.
pub fn backup_position(position: Lsn, timeline: u32) -> Vec<u8> {
    let (position, timeline) = (position.to_string(), timeline.to_string());
    one_row(&[("recptr", &position), ("tli", &timeline)], "SELECT")
}

/// The list of tablespaces, the data directory last, without sizes.
pub fn tablespaces(list: &[(u32, &str)]) -> Vec<u8> {
    let mut out = columns(&["spcoid", "spclocation", "size"]);
    for (oid, location) in list {
        let oid = oid.to_string();
        out.extend(row(&[Some(oid.as_bytes()), Some(location.as_bytes()), None]));
    }
    out.extend(row(&[None, None, None]));
    out.extend(complete("SELECT"));
    out
}

/// `n`: an archive begins (15 and later).
pub fn archive(name: &str, location: &str) -> Vec<u8> {
    copy_data(&[b"n".to_vec(), strings(&[name, location])].concat())
}

/// `d` in `d`: bytes of the archive or of the manifest (15 and later).
pub fn archive_data(bytes: &[u8]) -> Vec<u8> {
    copy_data(&[b"d", bytes].concat())
}

/// `p` (15 and later).
pub fn progress(bytes: u64) -> Vec<u8> {
    copy_data(&[&b"p"[..], &bytes.to_be_bytes()].concat())
}

/// `m`: the manifest begins (15 and later).
pub fn manifest() -> Vec<u8> {
    copy_data(b"m")
}
