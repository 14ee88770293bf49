//! The keyword form, mistake by mistake.

use proptest::prelude::*;

use super::*;
use crate::conninfo::keyword_value;

fn pairs(text: &str) -> String {
    match keyword_value::parse(text) {
        Ok(settings) => format!("{settings:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn blanks_quotes_and_backslashes_are_read_as_libpq_reads_them() {
    for (text, expected) in [
        ("", "{}"),
        ("  \t\n ", "{}"),
        ("host=a", r#"{Host: "a"}"#),
        (" host = a  port\t=\n5433 ", r#"{Host: "a", Port: "5433"}"#),
        ("dbname='my db' user=u", r#"{Dbname: "my db", User: "u"}"#),
        (r"dbname='it\'s' user=a\ b", r#"{Dbname: "it's", User: "a b"}"#),
        (r"dbname='a\\b' user=c\\d", r#"{Dbname: "a\\b", User: "c\\d"}"#),
        ("dbname='' user=u", r#"{Dbname: "", User: "u"}"#),
        ("dbname=", r#"{Dbname: ""}"#),
        ("dbname='a'user=u", r#"{Dbname: "a", User: "u"}"#),
        ("dbname=a'b'", r#"{Dbname: "a'b'"}"#),
        (r"dbname=a\", r#"{Dbname: "a"}"#),
        ("host=a host=b", r#"{Host: "b"}"#),
        ("dbname=x=y", r#"{Dbname: "x=y"}"#),
        ("dbname=größe", r#"{Dbname: "größe"}"#),
        ("requiressl=1", r#"{SslMode: "require"}"#),
        ("requiressl=0", r#"{SslMode: "prefer"}"#),
    ] {
        assert_eq!(pairs(text), expected, "{text:?}");
    }
}

#[test]
fn a_mistake_is_located_by_its_column() {
    for (text, expected) in [
        ("host", "connection string, position 1: no \"=\" follows the name of the option"),
        ("host=a port", "connection string, position 8: no \"=\" follows the name of the option"),
        ("host=a b c=d", "connection string, position 8: no \"=\" follows the name of the option"),
        ("user='größe' dbname='x", "connection string, position 21: the quoted value does not end"),
        ("dbname='x\\'", "connection string, position 8: the quoted value does not end"),
        ("host=a prot=5", "connection string, position 8: \"prot\" is not a connection option"),
        ("=a", "connection string, position 1: \"\" is not a connection option"),
        ("HOST=a", "connection string, position 1: \"HOST\" is not a connection option"),
    ] {
        assert_eq!(pairs(text), expected, "{text:?}");
    }
}

#[test]
fn the_nearest_option_is_proposed_for_a_misspelt_one() {
    let error = keyword_value::parse("sslmod=require").expect_err("misspelt");
    assert_eq!(error.hint().as_deref(), Some("did you mean sslmode?"));
    let error = keyword_value::parse("colour=red").expect_err("unknown");
    assert_eq!(error.hint(), None);
}

#[test]
fn a_badly_quoted_password_does_not_appear_in_the_message() {
    for text in [
        "password=open sesame",
        "password=open sesame=1",
        "password='open sesame",
        "password=open sesame = ",
        "user=u password=sesame=sesame sesame",
    ] {
        let machine = Machine::default();
        let error = ConnectOptions::resolve(text, Purpose::Sql, &machine).expect_err(text);
        for shown in [error.to_string(), format!("{error:?}"), error.hint().unwrap_or_default()] {
            assert!(!shown.contains("sesame"), "{shown}");
        }
    }
}

#[test]
fn debug_output_holds_no_secret() {
    let text = "password=sesame sslpassword=sesame";
    let settings = keyword_value::parse(text).expect("valid");
    assert!(!format!("{settings:?}").contains("sesame"));
    let options = resolve(text, &Machine::default());
    assert!(!format!("{options:?}").contains("sesame"));
}

/// As a careful user quotes.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', r"\\").replace('\'', r"\'"))
}

proptest! {
    #[test]
    fn any_quoted_value_is_read_back(value in "[^\0]{0,40}", other in "[^\0]{1,9}") {
        let text = format!("user={} dbname={}", quoted(&value), quoted(&other));
        let settings = keyword_value::parse(&text).unwrap();
        prop_assert_eq!(settings.text(Keyword::Dbname).unwrap().unwrap().0, other);
        let user = settings.text(Keyword::User).unwrap().map_or("", |(user, _)| user);
        prop_assert_eq!(user, value);
    }

    #[test]
    fn no_text_makes_the_parsers_panic(text in "\\PC{0,60}", tail in "[a-z:/@,?&=%\\[\\]' \\\\]{0,40}") {
        let _ = keyword_value::parse(&text);
        let _ = keyword_value::parse(&tail);
        let _ = uri::parse(&format!("postgresql://{tail}"));
        let _ = uri::parse(&format!("postgres://{text}"));
        let _ = ConnectOptions::resolve(&tail, Purpose::Replication, &Machine::default());
    }
}
