//! Options as found, before they are understood.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::{ConninfoError, Keyword, Origin};

/// A value and the place where it was found. Values are bytes: a path, a password or a
/// percent-encoded part need not be UTF-8.
#[derive(Clone)]
pub struct Setting {
    /// The bytes, unquoted and decoded.
    pub value: Zeroizing<Vec<u8>>,
    /// Where they stand.
    pub origin: Origin,
}

/// At most one value for each option.
#[derive(Clone, Default)]
pub struct Settings(BTreeMap<Keyword, Setting>);

impl Settings {
    /// Takes a value, in place of an earlier one: in a connection string the last one wins.
    pub fn set(&mut self, keyword: Keyword, value: Vec<u8>, origin: Origin) {
        self.0.insert(keyword, Setting { value: Zeroizing::new(value), origin });
    }

    /// Takes a value unless there is one: service file and environment only fill gaps.
    pub fn fill(&mut self, keyword: Keyword, value: &[u8], origin: impl FnOnce() -> Origin) {
        self.0
            .entry(keyword)
            .or_insert_with(|| Setting { value: Zeroizing::new(value.to_vec()), origin: origin() });
    }

    /// Takes a value by its keyword from a connection string, with the keywords that libpq
    /// translates for old clients.
    ///
    /// # Errors
    /// [`ConninfoError::UnknownOption`], without the word when `conceal` says that it may be a
    /// piece of a password.
    pub fn store(
        &mut self,
        word: &str,
        value: Vec<u8>,
        origin: Origin,
        conceal: bool,
    ) -> Result<(), ConninfoError> {
        if word == "requiressl" {
            let mode = if value.first() == Some(&b'1') { "require" } else { "prefer" };
            self.set(Keyword::SslMode, mode.as_bytes().to_vec(), origin);
            return Ok(());
        }
        let Some(keyword) = Keyword::from_word(word) else {
            let name = (!conceal).then(|| word.to_owned());
            return Err(ConninfoError::UnknownOption { origin, name });
        };
        if value.contains(&0) {
            let problem = "a value cannot hold a zero byte";
            return Err(ConninfoError::Syntax { origin, problem });
        }
        self.set(keyword, value, origin);
        Ok(())
    }

    /// Whether the option was given at all, be it empty.
    pub fn has(&self, keyword: Keyword) -> bool {
        self.0.contains_key(&keyword)
    }

    /// The raw value; `None` when absent or empty.
    pub fn get(&self, keyword: Keyword) -> Option<&Setting> {
        self.0.get(&keyword).filter(|setting| !setting.value.is_empty())
    }

    /// The value as text; `None` when absent or empty.
    pub fn text(&self, keyword: Keyword) -> Result<Option<(&str, &Origin)>, ConninfoError> {
        self.get(keyword).map(|setting| Ok((setting.text(keyword)?, &setting.origin))).transpose()
    }

    /// The value as a word that must mean something: an empty one is an error, as in libpq.
    pub fn word<T>(
        &self,
        keyword: Keyword,
        parse: impl FnOnce(&str) -> Option<T>,
        expected: impl FnOnce() -> String,
    ) -> Result<Option<T>, ConninfoError> {
        let Some(setting) = self.0.get(&keyword) else { return Ok(None) };
        let text = setting.text(keyword)?;
        match parse(text) {
            Some(value) => Ok(Some(value)),
            None => Err(ConninfoError::InvalidValue {
                origin: setting.origin.clone(),
                keyword,
                value: Some(text.to_owned()),
                expected: expected(),
            }),
        }
    }

    /// The value as a whole number, with blanks around it, as libpq reads them.
    pub fn integer(&self, keyword: Keyword) -> Result<Option<i32>, ConninfoError> {
        let parse =
            |text: &str| text.trim_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']).parse().ok();
        self.word(keyword, parse, || "a whole number".to_owned())
    }

    /// The value as a path; `None` when absent or empty.
    pub fn path(&self, keyword: Keyword) -> Option<PathBuf> {
        self.get(keyword).map(|setting| PathBuf::from(OsStr::from_bytes(&setting.value)))
    }
}

impl Setting {
    /// The value as text.
    pub fn text(&self, keyword: Keyword) -> Result<&str, ConninfoError> {
        std::str::from_utf8(&self.value).map_err(|_| ConninfoError::InvalidValue {
            origin: self.origin.clone(),
            keyword,
            value: None,
            expected: "text in UTF-8".to_owned(),
        })
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |keyword: &Keyword, setting: &Setting| match keyword.is_secret() {
            true => "***".to_owned(),
            false => String::from_utf8_lossy(&setting.value).into_owned(),
        };
        f.debug_map()
            .entries(self.0.iter().map(|(keyword, setting)| (keyword, shown(keyword, setting))))
            .finish()
    }
}
