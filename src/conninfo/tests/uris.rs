//! The URI form, part by part.

use super::*;
use crate::conninfo::uri;

fn parts(text: &str) -> String {
    match uri::parse(text) {
        Ok(settings) => format!("{settings:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_part_may_be_left_out() {
    for (text, expected) in [
        ("postgresql://", "{}"),
        ("postgres://", "{}"),
        ("postgresql:///", "{}"),
        ("postgresql://host", r#"{Host: "host"}"#),
        ("postgresql://host/", r#"{Host: "host"}"#),
        ("postgresql://host:123", r#"{Host: "host", Port: "123"}"#),
        ("postgresql://host:/db", r#"{Host: "host", Dbname: "db"}"#),
        ("postgresql:///db", r#"{Dbname: "db"}"#),
        ("postgresql://user@", r#"{User: "user"}"#),
        ("postgresql://user@/db", r#"{Dbname: "db", User: "user"}"#),
        ("postgresql://user:pw@host", r#"{Host: "host", User: "user", Password: "***"}"#),
        ("postgresql://:pw@host", r#"{Host: "host", Password: "***"}"#),
        ("postgresql://user:@host", r#"{Host: "host", User: "user"}"#),
        ("postgresql://?host=/tmp", r#"{Host: "/tmp"}"#),
        ("postgresql:///db?", r#"{Dbname: "db"}"#),
        ("postgresql://h?port=1&", r#"{Host: "h", Port: "1"}"#),
        ("postgresql://h/db?port=1&user=u", r#"{Host: "h", Port: "1", Dbname: "db", User: "u"}"#),
        ("postgresql://h/a/b", r#"{Host: "h", Dbname: "a/b"}"#),
    ] {
        assert_eq!(parts(text), expected, "{text}");
    }
}

#[test]
fn hosts_come_in_lists_with_and_without_ports() {
    for (text, expected) in [
        ("postgresql://a,b", r#"{Host: "a,b", Port: ","}"#),
        ("postgresql://a:1,b:2,c/db", r#"{Host: "a,b,c", Port: "1,2,", Dbname: "db"}"#),
        ("postgresql://[::1]", r#"{Host: "::1"}"#),
        (
            "postgresql://[::1]:7,[2001:db8::2]/x",
            r#"{Host: "::1,2001:db8::2", Port: "7,", Dbname: "x"}"#,
        ),
        ("postgresql://%2Ftmp%2Fpg:9", r#"{Host: "/tmp/pg", Port: "9"}"#),
    ] {
        assert_eq!(parts(text), expected, "{text}");
    }
    let options = resolve("postgresql://a,b:6000,%2Ftmp/db", &Machine::default());
    let shown: Vec<String> = options.hosts.iter().map(Host::to_string).collect();
    assert_eq!(shown, ["host a, port 5432", "host b, port 6000", "socket /tmp/.s.PGSQL.5432"]);
}

#[test]
fn percent_signs_decode_in_every_part() {
    for (text, expected) in [
        (
            "postgresql://u%40v:p%2fw@h%31:%35/d%20b",
            r#"{Host: "h1", Port: "5", Dbname: "d b", User: "u@v", Password: "***"}"#,
        ),
        ("postgresql://h?%75ser=a%3Db", r#"{Host: "h", User: "a=b"}"#),
        ("postgresql://h?options=-c%20a%3Db+c", r#"{Host: "h", Options: "-c a=b+c"}"#),
    ] {
        assert_eq!(parts(text), expected, "{text}");
    }
    let options = resolve("postgresql://u:p%2Fw%FF@h", &Machine::default());
    let (password, source) = options.hosts[0].password.as_ref().expect("given");
    assert_eq!(password.expose(), b"p/w\xff");
    assert_eq!(*source, PasswordSource::Options);
}

#[test]
fn mistakes_are_located_and_nothing_that_may_be_a_password_is_shown() {
    for (text, expected) in [
        ("postgresql://[::1", "position 14: no \"]\" ends the IPv6 address"),
        ("postgresql://[]", "position 14: the IPv6 address is empty"),
        (
            "postgresql://[::1]x",
            "position 19: only \":\", \"/\", \"?\" or \",\" can follow an IPv6 address",
        ),
        ("postgresql://h?a", "position 16: a query parameter without \"=\""),
        (
            "postgresql://h?user=a=b",
            "position 16: a query parameter with a second \"=\"; inside a value it is written %3D",
        ),
        ("postgresql://h?zzz=1", "position 16: \"zzz\" is not a connection option"),
        (
            "postgresql://h%zz",
            "position 14: \"%\" without two hexadecimal digits; a percent sign is written %25",
        ),
        (
            "postgresql://h%4",
            "position 14: \"%\" without two hexadecimal digits; a percent sign is written %25",
        ),
        ("postgresql://h%00", "position 14: %00 stands for a zero byte, which no value can hold"),
        (
            "postgresql://u:se/same@h",
            "position 16: this is not a port number; in a password \"/\" is written %2F and \":\" %3A",
        ),
        (
            "postgresql://u:se@same@h",
            "position 19: a second \"@\"; inside a user name or password it is written %40",
        ),
    ] {
        assert_eq!(parts(text), format!("connection string, {expected}"), "{text}");
    }
}

#[test]
fn ssl_true_is_the_word_of_jdbc_for_require() {
    assert_eq!(parts("postgresql://h?ssl=true"), r#"{Host: "h", SslMode: "require"}"#);
    assert!(parts("postgresql://h?ssl=false").contains("\"ssl\" is not a connection option"));
}
