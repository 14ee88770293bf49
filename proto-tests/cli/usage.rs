//! The command line itself: help, mistakes, closed pipes.

use std::process::Stdio;

use super::Site;

fn site() -> Site {
    Site::new("[main]\nconninfo = host=nowhere\nbackup_method = postgres\narchiver = on\n")
}

#[test]
fn nothing_typed_is_a_question_for_help() {
    let outcome = site().run(&[]);
    assert_eq!(outcome.code, 0);
    assert!(outcome.stdout.contains("Usage: tapster"), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("list-backups"), "{}", outcome.stdout);
}

#[test]
fn help_and_version_go_to_standard_output() {
    for arguments in [vec!["--help"], vec!["help"], vec!["list-backups", "--help"], vec!["-v"]] {
        let outcome = site().run(&arguments);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{arguments:?}");
        assert!(outcome.stdout.contains("apster"), "{arguments:?}");
    }
}

#[test]
fn a_mistake_is_said_with_the_command_it_was_made_in_and_leaves_with_2() {
    for (arguments, line) in [
        (vec!["nosuch"], "tapster: error: unrecognized subcommand 'nosuch'"),
        (
            vec!["list-servers", "--nosuch"],
            "tapster list-servers: error: unexpected argument '--nosuch' found",
        ),
        (
            vec!["show-backup", "main"],
            "tapster show-backup: error: the following required arguments were not provided: <BACKUP>",
        ),
        (vec!["-q"], "tapster: error: a command is required"),
        (
            vec!["-f", "xml", "list-servers"],
            "tapster list-servers: error: invalid value 'xml' for '--format <FORMAT>': unknown format \"xml\"; \
             expected console or json",
        ),
    ] {
        let outcome = site().run(&arguments);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""), "{arguments:?}");
        let lines: Vec<&str> = outcome.stderr.lines().collect();
        assert!(lines.contains(&line), "{arguments:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains("Usage: tapster") || line.contains("invalid value"));
    }
}

#[test]
fn long_options_may_be_shortened_and_stand_anywhere() {
    let site = site();
    let whole = site.run(&["--format", "json", "list-servers", "--minimal"]);
    assert_eq!(whole.code, 0);
    assert_eq!(site.run(&["list-servers", "--min", "--form=json"]), whole);
    assert_eq!(site.run(&["list-servers", "-f", "json"]), whole);
    assert_eq!(site.run(&["list-s"]).code, 2, "commands may not be shortened");
}

#[test]
fn quiet_silences_standard_output_and_nothing_else() {
    let outcome = site().run(&["-q", "list-servers"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""));
    let outcome = site().run(&["-q", "show-backup", "main", "nosuch"]);
    assert!(outcome.stderr.starts_with("ERROR: Unknown backup"), "{}", outcome.stderr);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let site = site();
    for arguments in [vec!["list-servers"], vec!["--help"], vec!["-f", "json", "list-servers"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = site.command(&arguments);
        let output = command.stdout(writer).stderr(Stdio::piped()).output().expect("it runs");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(output.stderr, b"", "{arguments:?}");
    }
}

#[test]
fn an_answer_that_cannot_be_written_is_an_error() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let site = site();
    let mut command = site.command(&["list-servers"]);
    let output = command.stdout(full).stderr(Stdio::piped()).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).expect("text");
    assert!(text.starts_with("ERROR: cannot write to standard output"), "{text}");
}
