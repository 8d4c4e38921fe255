//! Templates of Python, filled with the parameters of a choice.

use std::collections::BTreeMap;

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};

use imbalance::{Choice, Param, Setting, Takes};

use super::python;

/// What a template is filled with: each parameter as Python writes it (words bare), and what else it asks for.
#[derive(Clone, Debug, Default)]
pub struct Filled(BTreeMap<String, Value>);

impl Filled {
    /// The parameters of a complete choice. One that is off is not defined.
    #[must_use]
    pub fn of(params: &[Param], choice: &Choice) -> Self {
        let value = |param: &Param| {
            let text = match (choice.params.get(param.name)?, param.takes) {
                (Setting::Number(number), Takes::Whole { .. }) => number.to_string(),
                (Setting::Number(number), _) => python::float(*number),
                (Setting::Word(word), _) => word.clone(),
            };
            Some((param.name.to_owned(), text.into()))
        };
        Self(params.iter().filter_map(value).collect())
    }

    /// One value more.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }
}

/// `template` with these values. Blocks take no lines of their own.
///
/// # Errors
/// A template that is wrong.
pub fn fill(template: &str, values: Filled) -> Result<String, String> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(|error| format!("{error:#}"))?;
    environment.set_syntax(syntax);
    environment.render_str(template, values.0).map_err(|error| format!("its template: {error:#}"))
}
