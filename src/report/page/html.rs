//! The model as HTML. Everything that comes from data is text: the template escapes it, the JSON has no `<`, and what a terminal or a
//! browser would obey (control characters, directions of writing) is written out.

use std::collections::BTreeMap;

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Value, context};

use super::super::text_grid::NONE;
use super::assets::{ADMITTED, ECHARTS, NOTICES, SCRIPT, STYLE, TEMPLATE};
use super::{Model, Page};
use crate::error::Error;
use imbalance::shown;
use store::time_in_words;

/// Where a page is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// From a file: nothing is fetched.
    File,
    /// From `sweep serve`: it listens to changes.
    Live,
}

/// Parts of the document that a live page replaces as a whole when they change: ids of elements, and blocks of the template.
const PARTS: [&str; 9] = ["head", "verdict", "running", "axes", "samplers", "heat", "pictures", "warnings", "provenance"];
/// Bytes of a file at most, and what is left free when something has to go.
const MOST: usize = 4_950_000;
const SPARE: usize = 2_000;
/// Rows of the leaderboard that stand in the document; the script has all.
const ROWS: usize = 200;
/// Strategies that the table of labels compares.
const HEAT: usize = 24;

impl Page {
    /// The whole document.
    ///
    /// # Errors
    /// Errors of the template, which a model cannot cause.
    pub fn html(&self, place: Place) -> Result<String, Error> {
        let mut model = self.model.json()?;
        // The document has the pictures already.
        let pictures = model["pictures"].take();
        let json = in_script(&model.to_string());
        model["pictures"] = pictures;
        let page = context! {
            live => place == Place::Live,
            policy => Self::policy(place),
            style => Value::from_safe_string(STYLE.to_owned()),
            echarts => Value::from_safe_string(ECHARTS.to_owned()),
            script => Value::from_safe_string(SCRIPT.clone()),
            json => Value::from_safe_string(json),
            notices => NOTICES.join("\n\n"),
        };
        let [html] = self.render(&model, ["page"], page)?;
        Ok(html)
    }

    /// The document for a file, of less than 5 MB: where it is larger, the strategies that rank lowest lose their counts and curves,
    /// and the page says so.
    ///
    /// # Errors
    /// As [`Self::html`].
    pub fn file(&mut self) -> Result<String, Error> {
        loop {
            let html = self.html(Place::File)?;
            let mut over = html.len().saturating_sub(MOST);
            if over == 0 || self.model.evidence.is_empty() {
                return Ok(html);
            }
            over += SPARE;
            while over > 0
                && let Some(last) = self.model.evidence.pop()
            {
                over = over.saturating_sub(last.packed.len());
            }
            let kept = self.model.evidence.len();
            self.model.missing.push(format!(
                "sliders and curves below the best {kept} strategies: with them the file would be larger than 5 MB"
            ));
        }
    }

    /// The parts of the document that a live page replaces as a whole when they change, by the id of their element. `model` is that of
    /// this page ([`Model::json`]).
    ///
    /// # Errors
    /// As [`Self::html`].
    pub fn parts(&self, model: &serde_json::Value) -> Result<BTreeMap<String, String>, Error> {
        // Most of a model are rows and counts, which no part shows.
        let bulky = ["rows", "evidence", "learning", "stops"];
        let fields = model.as_object().into_iter().flatten().filter(|(name, _)| !bulky.contains(&name.as_str()));
        let slim: serde_json::Value =
            serde_json::Value::Object(fields.map(|(name, value)| (name.clone(), value.clone())).collect());
        let rendered = self.render(&slim, PARTS, Value::UNDEFINED)?;
        Ok(PARTS.iter().map(|part| (*part).to_owned()).zip(rendered).collect())
    }

    /// The page's content security policy: its own two scripts, its own style and pictures, and on a live page its own server.
    #[must_use]
    pub fn policy(place: Place) -> String {
        let connect = if place == Place::Live { "; connect-src 'self'" } else { "" };
        let scripts = ADMITTED.as_str();
        format!(
            "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; style-src 'unsafe-inline'; script-src {scripts}{connect}"
        )
    }

    /// The template as a whole (`page`), or parts of it.
    fn render<const N: usize>(&self, model: &serde_json::Value, parts: [&str; N], page: Value) -> Result<[String; N], Error> {
        let failed = |error: minijinja::Error| Error::Unexpected(format!("the page's template: {error:#}"));
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        for (name, filter) in
            [("num", number as fn(Value) -> String), ("pct", percent), ("time", time), ("spread", spread), ("signed", signed)]
        {
            environment.add_filter(name, filter);
        }
        environment.add_template("page", TEMPLATE).map_err(failed)?;
        let template = environment.get_template("page").map_err(failed)?;
        let strategies = model["strategies"].as_array().map_or(&[][..], Vec::as_slice);
        let by_key: BTreeMap<&str, &serde_json::Value> =
            strategies.iter().filter_map(|strategy| Some((strategy["key"].as_str()?, strategy))).collect();
        let with_labels = |strategy: &&serde_json::Value| strategy["ap"].as_array().is_some_and(|ap| !ap.is_empty());
        let heat: Vec<&serde_json::Value> = strategies.iter().filter(with_labels).take(HEAT).collect();
        let context = context! {
            page,
            m => Value::from(Serde(model)),
            rows => ROWS,
            heat => Value::from(Serde(heat)),
            strategies => Value::from(Serde(by_key)),
        };
        let mut rendered = [const { String::new() }; N];
        for (text, part) in rendered.iter_mut().zip(parts) {
            *text = template.render(context! { part, ..context.clone() }).map_err(failed)?.trim().to_owned();
        }
        Ok(rendered)
    }
}

/// A value as JSON, with text that nobody obeys and numbers of seven digits.
fn value(of: &impl serde::Serialize) -> Result<serde_json::Value, Error> {
    let mut json = serde_json::to_value(of).map_err(|error| Error::Unexpected(error.to_string()))?;
    tame(&mut json);
    Ok(json)
}

fn tame(json: &mut serde_json::Value) {
    match json {
        serde_json::Value::String(text) => {
            if let std::borrow::Cow::Owned(tamed) = shown::lines(text) {
                *text = tamed;
            }
        }
        // Seven digits: nobody reads more, and the page is a fifth smaller.
        serde_json::Value::Number(number) if number.is_f64() => {
            let short =
                number.as_f64().and_then(|value| format!("{value:.6e}").parse().ok()).and_then(serde_json::Number::from_f64);
            *number = short.unwrap_or_else(|| number.clone());
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(tame),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(tame),
        _ => {}
    }
}

/// JSON that can stand in a script element: no `<` ends it or begins a comment.
fn in_script(json: &str) -> String {
    json.replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

fn float(value: &Value) -> Option<f64> {
    f64::try_from(value.clone()).ok()
}

/// Three digits.
fn number(value: Value) -> String {
    float(&value).map_or_else(|| NONE.to_owned(), |value| format!("{value:.3}"))
}

/// One digit, in percent.
fn percent(value: Value) -> String {
    float(&value).map_or_else(|| NONE.to_owned(), |value| format!("{:.1}%", 100.0 * value))
}

/// Three digits and a sign.
fn signed(value: Value) -> String {
    let text = |value: f64| match format!("{value:+.3}") {
        zero if zero.ends_with("0.000") => "0.000".to_owned(),
        text => text,
    };
    float(&value).map_or_else(|| NONE.to_owned(), text)
}

/// A time of day, in UTC.
fn time(value: Value) -> String {
    float(&value).map_or_else(|| NONE.to_owned(), time_in_words)
}

/// `0.612 ± 0.011`.
fn spread(value: Value) -> String {
    let of = |name: &str| value.get_attr(name).ok().as_ref().and_then(float);
    match (of("mean"), of("sd")) {
        (None, _) => NONE.to_owned(),
        (Some(mean), Some(sd)) => format!("{mean:.3} ± {sd:.3}"),
        (Some(mean), None) => format!("{mean:.3}"),
    }
}

impl Model {
    /// The model as it stands in the page.
    ///
    /// # Errors
    /// Errors of the JSON writer, which a model cannot cause.
    pub fn json(&self) -> Result<serde_json::Value, Error> {
        value(self)
    }
}
