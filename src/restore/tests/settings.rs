//! Settings reach the server as they were meant, whatever is in them.

use super::*;
use crate::restore::target::{TargetAction, TargetTime};
use crate::wal::{Lsn, Timeline};

fn pg(major: u32) -> ServerVersion {
    ServerVersion::from_number(major * 10_000 + 3)
}

fn wal(path: &str) -> WalDirectory {
    WalDirectory { path: path.as_bytes().to_vec() }
}

fn lines(version: ServerVersion, goal: &Goal, timeline: Option<TargetTimeline>) -> String {
    let wal = wal("/srv/restore/e/barman_wal");
    let settings = recovery_settings(version, goal, Some(&wal), timeline);
    String::from_utf8(settings.lines).expect("text")
}

const COPY: &str = "restore_command = 'cp /srv/restore/e/barman_wal/%f %p'\n\
                    recovery_end_command = 'rm -fr /srv/restore/e/barman_wal'\n";

#[test]
fn settings_are_those_of_barman_in_its_order() {
    let (time, _) = TargetTime::parse("2026-11-23 06:33:03.034156+00", &jiff::tz::TimeZone::UTC)
        .expect("a time");
    let goal = Goal {
        target: Some(RecoveryTarget::Time(time)),
        exclusive: true,
        action: Some(TargetAction::Promote),
        ..Goal::default()
    };
    let expected = format!(
        "{COPY}recovery_target_time = '2026-11-23 06:33:03.034156+00:00'\n\
         recovery_target_inclusive = 'False'\nrecovery_target_action = 'promote'\n"
    );
    assert_eq!(lines(pg(15), &goal, None), expected);

    let goal = Goal { target: Some(RecoveryTarget::Immediate), exclusive: true, ..Goal::default() };
    assert_eq!(lines(pg(15), &goal, None), format!("{COPY}recovery_target = 'immediate'\n"));

    let goal = Goal { target: Some(RecoveryTarget::Lsn(Lsn(0x1801_6558))), ..Goal::default() };
    assert_eq!(
        lines(pg(15), &goal, Some(TargetTimeline::Latest)),
        format!("{COPY}recovery_target_lsn = '0/18016558'\nrecovery_target_timeline = latest\n")
    );
}

#[test]
fn older_servers_get_no_word_that_they_do_not_know() {
    let goal = Goal { standby: true, ..Goal::default() };
    let settings = recovery_settings(pg(11), &goal, None, Some(TargetTimeline::Current));
    assert_eq!(settings.lines, b"standby_mode = 'on'\n");
    assert_eq!(settings.signal, Some(SignalFile::Standby));
    let seven = TargetTimeline::Exact(Timeline::new(7).expect("not 0"));
    let settings = recovery_settings(pg(11), &Goal::default(), None, Some(seven));
    assert_eq!(settings.lines, b"recovery_target_timeline = 7\n");
}

#[test]
fn a_restore_without_a_goal_needs_neither_settings_nor_signal() {
    let settings = recovery_settings(pg(15), &Goal::default(), None, None);
    assert_eq!((settings.lines, settings.signal), (Vec::new(), None));
    assert_eq!(append(b"a = 1", b""), b"a = 1");
    assert_eq!(append(b"a = 1", b"b = 2\n"), b"a = 1\n\nb = 2\n");
    assert_eq!(append(b"", b"b = 2\n"), b"b = 2\n");
}

/// What the server makes of a quoted value (`GUC_scanstr`).
fn unquote(value: &[u8]) -> Vec<u8> {
    let inner = &value[1..value.len() - 1];
    let mut out = Vec::new();
    let mut bytes = inner.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => out.push(match bytes.next() {
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(other) => *other,
                None => panic!("an escape without its letter"),
            }),
            b'\'' => {
                assert_eq!(bytes.next(), Some(&b'\''), "a lone quote ends the value");
                out.push(b'\'');
            }
            other => out.push(*other),
        }
    }
    out
}

#[test]
fn a_path_with_any_letters_reaches_cp_unharmed() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in
        ["plain", "two words", "it's", "50%f", "a\\b", "$(x) `y` \"z\" *;&", "line\nend", "é"]
    {
        let directory = folder.path().join(name);
        std::fs::create_dir(&directory).expect(name);
        std::fs::write(directory.join("00000002.history"), name).expect(name);
        let wal = WalDirectory { path: directory.as_os_str().as_encoded_bytes().to_vec() };
        let command = unquote(&quoted(&wal.restore_command()));
        // The server's own replacement of percent signs.
        let target = folder.path().join("out");
        let command = String::from_utf8(command).expect("text");
        let command = command
            .replace("%%", "\u{1}")
            .replace("%f", "00000002.history")
            .replace("%p", &target.display().to_string())
            .replace('\u{1}', "%");
        let done = std::process::Command::new("sh").arg("-c").arg(&command).status();
        assert!(done.expect("sh runs").success(), "{command}");
        assert_eq!(std::fs::read_to_string(&target).expect(name), name);
    }
}

#[test]
fn a_configuration_is_made_harmless_and_line_numbers_count_from_one() {
    let before = b"# comment\nARCHIVE_COMMAND='cp %p /x' # keep\n  unix_socket_directories = '/tmp' # here\n\
        restore_command 'old'\nrecovery_target_name = 'x'\n#archive_command = 'no'\ninclude 'more.conf'\nport=1";
    let reviewed = review("postgresql.conf", before, OldSources::Comment);
    let text = String::from_utf8(reviewed.text).expect("text");
    assert_eq!(
        text,
        "# comment\n#BARMAN#ARCHIVE_COMMAND='cp %p /x' # keep\narchive_command = false\n  \
         unix_socket_directories = '/tmp' # here\n#BARMAN#restore_command 'old'\n\
         #BARMAN#recovery_target_name = 'x'\n#archive_command = 'no'\ninclude 'more.conf'\nport=1"
    );
    let entry = |line, name: &str, value: &str| SettingLine {
        file: "postgresql.conf".to_owned(),
        line,
        name: name.to_owned(),
        value: value.to_owned(),
    };
    assert_eq!(reviewed.changed, [entry(3, "archive_command", "false")]);
    assert_eq!(
        reviewed.dangerous,
        [entry(4, "unix_socket_directories", "'/tmp'"), entry(8, "include", "'more.conf'")]
    );
    let kept = review("f", b"restore_command = 'old'\narchive_command = x", OldSources::Keep);
    assert_eq!(
        kept.text,
        b"restore_command = 'old'\n#BARMAN#archive_command = x\narchive_command = false\n"
    );
}
