//! `check` before servers that are none: it fails, says at which line, and comes to an end.

use super::{FakeServer, Step};
use crate::real_server::{Cluster, Tapster};
use crate::wire::hex;

#[test]
fn a_streaming_connection_that_is_none_fails_its_line_and_no_other_connection() {
    let cluster = Cluster::start(17);
    let tapster = Tapster::of(&cluster);
    for steps in [
        vec![Step::Send(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()), Step::Hold],
        vec![Step::Send(hex("53 ffffffff ffffffff")), Step::Hold],
        vec![Step::Send(hex("52 7fffffff")), Step::Hold],
        vec![Step::Close],
    ] {
        let server = FakeServer::alone().at_connect(steps.clone()).start();
        let options = Tapster::server_options(&cluster).replace(
            &cluster.streaming_conninfo(),
            &format!("{} sslmode=disable", server.conninfo()),
        );
        tapster.write_server("main", &options);
        let outcome = tapster.run(&["check", "main"]);
        assert_eq!(outcome.code, 1, "{outcome}");
        assert!(outcome.stdout.contains("\tPostgreSQL: OK"), "{steps:?}: {outcome}");
        assert!(outcome.stdout.contains("\tPostgreSQL streaming: FAILED"), "{steps:?}: {outcome}");
    }
}
