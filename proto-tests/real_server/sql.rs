//! SQL for the tests' own needs: over the cluster's private socket, as its superuser.
//!
//! A session lives in a thread of its own, so that a test may use it inside an async runtime
//! as well as outside, and keep it open (a backup's session, an uncommitted transaction).

use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio_postgres::{Config, NoTls, SimpleQueryMessage};

/// One row, each value as the server prints it.
pub type Row = Vec<Option<String>>;

type Request = (String, mpsc::Sender<Result<Vec<Row>, String>>);

/// An open connection.
#[derive(Debug)]
pub struct Session {
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Session {
    /// Connects; the error is the server's own text.
    pub fn connect(
        socket: &Path,
        port: u16,
        user: &str,
        database: &str,
    ) -> Result<Session, String> {
        let mut config = Config::new();
        config.host_path(socket).port(port).user(user).dbname(database);
        config.application_name("tapster tests").connect_timeout(Duration::from_secs(10));
        Session::connect_with(config)
    }

    /// Connects by a configuration of the test's own.
    pub fn connect_with(config: Config) -> Result<Session, String> {
        let (requests, inbox) = mpsc::channel::<Request>();
        let (ready, is_ready) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("sql".into())
            .spawn(move || serve(&config, &inbox, &ready))
            .expect("a thread");
        match is_ready.recv() {
            Ok(Ok(())) => Ok(Session { requests: Some(requests), thread: Some(thread) }),
            Ok(Err(text)) => Err(text),
            Err(_) => Err("the session's thread ended".into()),
        }
    }

    /// Runs one or more statements; the rows of the last one that had any.
    pub fn try_sql(&self, text: &str) -> Result<Vec<Row>, String> {
        let (answer, result) = mpsc::channel();
        let requests = self.requests.as_ref().expect("only drop takes it");
        requests.send((text.into(), answer)).map_err(|_| "the session ended".to_owned())?;
        result.recv().map_err(|_| "the session ended".to_owned())?
    }

    /// Runs statements that have to succeed.
    pub fn sql(&self, text: &str) -> Vec<Row> {
        self.try_sql(text).unwrap_or_else(|error| panic!("{error}\nin: {text}"))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(
    config: &Config,
    inbox: &mpsc::Receiver<Request>,
    ready: &mpsc::Sender<Result<(), String>>,
) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let client = match runtime.block_on(config.connect(NoTls)) {
        Ok((client, connection)) => {
            runtime.spawn(connection);
            client
        }
        Err(error) => {
            let _ = ready.send(Err(describe(&error)));
            return;
        }
    };
    let _ = ready.send(Ok(()));
    while let Ok((text, answer)) = inbox.recv() {
        let result = runtime.block_on(client.simple_query(&text));
        let _ = answer.send(result.map(rows_of).map_err(|error| describe(&error)));
    }
}

/// tokio-postgres prints only its own layer; the server's words are below it.
fn describe(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn rows_of(messages: Vec<SimpleQueryMessage>) -> Vec<Row> {
    let mut rows = Vec::new();
    for message in messages {
        match message {
            SimpleQueryMessage::RowDescription(_) => rows.clear(),
            SimpleQueryMessage::Row(row) => {
                rows.push((0..row.len()).map(|n| row.get(n).map(str::to_owned)).collect());
            }
            _ => {}
        }
    }
    rows
}

/// A name as an SQL identifier.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
