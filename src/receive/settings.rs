//! What the server's settings mean to a receiver.
//!
//! Pure: text as SHOW prints it goes in.

use std::time::Duration;

/// A duration with its unit: `1min`, `500ms`, `0`. Source: manual, "Parameter Names and
/// Values"; SHOW prints a unit with every value but 0.
pub fn duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let millis = match unit.trim() {
        "us" => return Some(Duration::from_micros(number)),
        "" | "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(millis)?))
}

/// Whether commits may wait for a standby of this name.
///
/// The forms are `[FIRST] n (name, …)`, `ANY n (name, …)` and `name, …`; a name is compared
/// without regard to case, may stand in double quotes, and `*` is every name. Source: manual,
/// `synchronous_standby_names`.
pub fn waits_for(synchronous_standby_names: &str, application_name: &str) -> bool {
    let text = synchronous_standby_names;
    let list = match text.split_once('(') {
        Some((_, rest)) => rest.rsplit_once(')').map_or(rest, |(list, _)| list),
        None => text,
    };
    names(list).iter().any(|(name, quoted)| {
        (!quoted && name == "*") || name.eq_ignore_ascii_case(application_name)
    })
}

/// The names of a list, and whether each stood in quotes.
fn names(list: &str) -> Vec<(String, bool)> {
    let mut names = Vec::new();
    let mut name = String::new();
    let (mut quoted, mut inside) = (false, false);
    let mut characters = list.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if inside && characters.peek() == Some(&'"') => {
                characters.next();
                name.push('"');
            }
            '"' => {
                inside = !inside;
                quoted = true;
            }
            ',' if !inside => names.push((std::mem::take(&mut name), std::mem::take(&mut quoted))),
            blank if blank.is_whitespace() && !inside => {}
            other => name.push(other),
        }
    }
    names.push((name, quoted));
    names.retain(|(name, _)| !name.is_empty());
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_the_units_of_the_server() {
        let seconds = |text| duration(text).map(|duration| duration.as_secs());
        assert_eq!(seconds("1min"), Some(60));
        assert_eq!(seconds("90s"), Some(90));
        assert_eq!(seconds("2500ms"), Some(2));
        assert_eq!(seconds("0"), Some(0));
        assert_eq!(seconds("1d"), Some(86_400));
        for text in ["", "min", "-1s", "1 year", "99999999999999999999s"] {
            assert_eq!(duration(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_name_is_found_in_every_form_of_the_list_and_only_as_a_whole() {
        let name = "barman_receive_wal";
        for list in [
            "barman_receive_wal",
            "*",
            "standby1, Barman_Receive_WAL",
            "2 (standby1, barman_receive_wal)",
            "FIRST 1 (barman_receive_wal,standby1)",
            "ANY 1 (\"barman_receive_wal\")",
            "any 2 ( standby1 , * )",
        ] {
            assert!(waits_for(list, name), "{list:?}");
        }
        for list in ["", "barman", "barman_receive_wal2", "FIRST 1 (standby1)", "\"*\"", "( )"] {
            assert!(!waits_for(list, name), "{list:?}");
        }
        assert!(waits_for("\"say \"\"hi\"\", ok\"", "say \"hi\", ok"));
    }
}
