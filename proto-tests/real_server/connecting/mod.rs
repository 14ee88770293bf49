//! Whoever libpq lets in comes in, and whoever is kept out learns why and what to do.
//!
//! A backup that cannot log in at three in the morning has nobody to ask. Each refusal must
//! name the place and the remedy, must say whether to try again, and must never show a secret
//! or send one to a server that the user did not mean.

mod hosts;
mod logins;
mod refusals;
mod sessions;
mod encryption;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use tapster::conninfo::{ConnectOptions, Environment, Purpose, RealEnvironment, SourceFile};
use tapster::net::{NetError, SqlClient, Walsender};

use super::Cluster;

/// The environment of a test: its own variables and home, nothing of ours.
#[derive(Debug, Default)]
struct Surroundings {
    variables: BTreeMap<String, OsString>,
    home: Option<PathBuf>,
}

impl Surroundings {
    fn home(home: &Path) -> Surroundings {
        Surroundings { home: Some(home.to_owned()), ..Surroundings::default() }
    }

    fn with(mut self, name: &str, value: &str) -> Surroundings {
        self.variables.insert(name.to_owned(), value.into());
        self
    }
}

impl Environment for Surroundings {
    fn variable(&self, name: &str) -> Option<OsString> {
        self.variables.get(name).cloned()
    }

    fn home(&self) -> Option<PathBuf> {
        self.home.clone()
    }

    fn user(&self) -> Option<String> {
        Some("nobody".to_owned())
    }

    fn read_file(&self, path: &Path) -> io::Result<SourceFile> {
        RealEnvironment.read_file(path)
    }
}

fn options(text: &str, purpose: Purpose, around: &Surroundings) -> ConnectOptions {
    ConnectOptions::resolve(text, purpose, around).unwrap_or_else(|error| panic!("{error}"))
}

/// Runs what needs a runtime, as the commands do.
fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(work)
}

/// Logs in to a walsender and asks it who it is.
async fn walsender(text: &str, around: &Surroundings) -> Result<Walsender, NetError> {
    let mut server =
        Walsender::connect(&options(text, Purpose::Replication, around), "test").await?;
    server.identify_system().await?;
    Ok(server)
}

/// Logs in to a database and asks who we are.
async fn sql(text: &str, around: &Surroundings) -> Result<SqlClient, NetError> {
    let server = SqlClient::connect(&options(text, Purpose::Sql, around), "test").await?;
    server.value("question", "SELECT current_user").await?;
    Ok(server)
}

/// Both kinds of session must open.
#[track_caller]
fn both(text: &str, around: &Surroundings) {
    run(async {
        if let Err(error) = walsender(text, around).await {
            panic!("walsender, {text}: {}", chain(&error));
        }
        if let Err(error) = sql(&format!("{text} dbname=postgres"), around).await {
            panic!("SQL, {text}: {}", chain(&error));
        }
    });
}

/// Both kinds of session must be refused; the errors, walsender first.
#[track_caller]
fn neither(text: &str, around: &Surroundings) -> [NetError; 2] {
    run(async {
        let one = match walsender(text, around).await {
            Ok(_) => panic!("walsender, {text}: was let in"),
            Err(error) => error,
        };
        let two = match sql(&format!("{text} dbname=postgres"), around).await {
            Ok(_) => panic!("SQL, {text}: was let in"),
            Err(error) => error,
        };
        [one, two]
    })
}

/// An error with all of its causes, as a person sees it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// Text of error and hint together.
fn said(error: &NetError) -> String {
    format!("{} / {}", chain(error), error.hint().unwrap_or_default())
}

#[track_caller]
fn says(error: &NetError, words: &[&str]) {
    let text = said(error);
    for word in words {
        assert!(text.contains(word), "{word:?} is not said: {text}");
    }
}

/// A line of pg_hba.conf for both kinds of session.
fn admits(kind: &str, user: &str, from: &str, method: &str) -> String {
    format!("{kind} all,replication {user} {from} {method}")
}

/// A cluster with one role for each method, all with the password `sesame`.
fn cluster_of_methods(major: u32) -> Cluster {
    let loopback = "127.0.0.1/32";
    let lines = [
        admits("host", "trusted", loopback, "trust"),
        admits("host", "plain", loopback, "password"),
        admits("host", "hashed", loopback, "md5"),
        admits("host", "salted", loopback, "scram-sha-256"),
        admits("host", "trusted", "::1/128", "trust"),
        admits("local", "trusted", "", "trust"),
        admits("host", "barman,streaming_barman", loopback, "trust"),
    ];
    let cluster = Cluster::builder(major)
        .setting("listen_addresses", "127.0.0.1,::1")
        .hba(&lines.each_ref().map(String::as_str))
        .start();
    for (role, encryption) in
        [("trusted", "md5"), ("plain", "md5"), ("hashed", "md5"), ("salted", "scram-sha-256")]
    {
        cluster.sql(&format!(
            "SET password_encryption = '{encryption}';
             CREATE ROLE {role} LOGIN REPLICATION PASSWORD 'sesame'"
        ));
    }
    cluster
}
