//! What changed from one model to the next, as the page is told. Pure.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use serde_json::{Map, Value};

/// The HTML of parts of the document, by the id of their element.
pub type Parts = BTreeMap<String, String>;

/// The data of an event `change`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Change {
    /// Fields of the model that changed as a whole; null: it is gone.
    pub set: Map<String, Value>,
    /// Lists whose items have a `key`.
    pub rows: BTreeMap<String, RowsChange>,
    /// Parts that changed; null: it is gone.
    pub parts: BTreeMap<String, Option<String>>,
}

/// What changed in a list whose items have a `key`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RowsChange {
    /// All keys in their order, if the order or the set of keys changed: items without a place here are gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<Vec<String>>,
    /// Items that are new or have changed, whole.
    pub changed: Vec<Value>,
}

impl Change {
    /// From one model and its parts to the next.
    #[must_use]
    pub fn between(before: (&Value, &Parts), after: (&Value, &Parts)) -> Self {
        let mut change = Self::default();
        let none = Map::new();
        let (old, new) = (before.0.as_object().unwrap_or(&none), after.0.as_object().unwrap_or(&none));
        for (name, value) in new {
            match old.get(name) {
                Some(same) if same == value => {}
                Some(other) => match rows(other, value) {
                    Some(rows) => drop(change.rows.insert(name.clone(), rows)),
                    None => drop(change.set.insert(name.clone(), value.clone())),
                },
                None => drop(change.set.insert(name.clone(), value.clone())),
            }
        }
        change.set.extend(old.keys().filter(|name| !new.contains_key(*name)).map(|name| (name.clone(), Value::Null)));
        let changed = after.1.iter().filter(|(id, html)| before.1.get(*id) != Some(html));
        change.parts.extend(changed.map(|(id, html)| (id.clone(), Some(html.clone()))));
        change.parts.extend(before.1.keys().filter(|id| !after.1.contains_key(*id)).map(|id| (id.clone(), None)));
        change
    }

    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.rows.is_empty() && self.parts.is_empty()
    }
}

/// The change of a keyed list; `None` where one of the values is none.
fn rows(old: &Value, new: &Value) -> Option<RowsChange> {
    let (old, new) = (keyed(old)?, keyed(new)?);
    let known: HashMap<&str, &Value> = old.iter().copied().collect();
    let changed = new.iter().filter(|(key, item)| known.get(key) != Some(item)).map(|(_, item)| (*item).clone()).collect();
    let same = old.len() == new.len() && old.iter().zip(&new).all(|((old, _), (new, _))| old == new);
    let order = (!same).then(|| new.iter().map(|(key, _)| (*key).to_owned()).collect());
    Some(RowsChange { order, changed })
}

/// The items by their keys; `None` where an item has none, or two have the same.
fn keyed(value: &Value) -> Option<Vec<(&str, &Value)>> {
    let items: Option<Vec<(&str, &Value)>> =
        value.as_array()?.iter().map(|item| Some((item.as_object()?.get("key")?.as_str()?, item))).collect();
    let items = items?;
    let distinct: std::collections::HashSet<&str> = items.iter().map(|(key, _)| *key).collect();
    (distinct.len() == items.len()).then_some(items)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn between(old: &Value, new: &Value) -> Value {
        let none = Parts::new();
        serde_json::to_value(Change::between((old, &none), (new, &none))).unwrap()
    }

    /// What a page does with a change.
    fn applied(old: &Value, change: &Change) -> Value {
        let mut model = old.as_object().unwrap().clone();
        for (name, value) in &change.set {
            if value.is_null() {
                model.remove(name);
            } else {
                model.insert(name.clone(), value.clone());
            }
        }
        for (name, rows) in &change.rows {
            let key = |item: &Value| item["key"].as_str().unwrap().to_owned();
            let items = model[name].as_array().unwrap();
            let order = rows.order.clone().unwrap_or_else(|| items.iter().map(key).collect());
            let mut known: HashMap<String, Value> = items.iter().map(|item| (key(item), item.clone())).collect();
            known.extend(rows.changed.iter().map(|item| (key(item), item.clone())));
            model.insert(name.clone(), order.iter().map(|key| known[key].clone()).collect());
        }
        Value::Object(model)
    }

    #[test]
    fn keyed_lists_change_by_key_and_the_rest_as_a_whole() {
        let old = json!({"n": 1, "rows": [{"key": "a", "v": 1}, {"key": "b", "v": 1}], "same": [1], "list": [1, 2], "gone": 1});
        let new =
            json!({"n": 2, "rows": [{"key": "b", "v": 2}, {"key": "c", "v": 1}], "same": [1], "list": [1], "fresh": {"x": 1}});
        let expected = json!({
            "set": {"n": 2, "list": [1], "fresh": {"x": 1}, "gone": null},
            "rows": {"rows": {"order": ["b", "c"], "changed": [{"key": "b", "v": 2}, {"key": "c", "v": 1}]}},
            "parts": {},
        });
        assert_eq!(between(&old, &new), expected);
        let same_order = json!({"rows": [{"key": "a", "v": 1}, {"key": "b", "v": 3}]});
        let change = between(&json!({"rows": [{"key": "a", "v": 1}, {"key": "b", "v": 1}]}), &same_order);
        assert_eq!(change["rows"]["rows"], json!({"changed": [{"key": "b", "v": 3}]}));
    }

    #[test]
    fn lists_without_distinct_keys_change_as_a_whole() {
        for (old, new) in [
            (json!([{"key": "a"}]), json!([{"key": "a"}, {"key": "a"}])),
            (json!([{"key": "a"}]), json!([{"name": "a"}])),
            (json!([{"key": 1}]), json!([{"key": 2}])),
            (json!(1), json!([{"key": "a"}])),
        ] {
            let change = between(&json!({"x": old}), &json!({"x": new}));
            assert_eq!(change, json!({"set": {"x": new}, "rows": {}, "parts": {}}));
        }
        let emptied = between(&json!({"x": [{"key": "a"}]}), &json!({"x": []}));
        assert_eq!(emptied["rows"]["x"], json!({"order": [], "changed": []}));
    }

    #[test]
    fn parts_change_by_their_id() {
        let parts = |of: &[(&str, &str)]| of.iter().map(|(id, html)| ((*id).to_owned(), (*html).to_owned())).collect::<Parts>();
        let (old, new) = (parts(&[("a", "1"), ("b", "1"), ("c", "1")]), parts(&[("a", "1"), ("b", "2"), ("d", "1")]));
        let model = json!({});
        let change = serde_json::to_value(Change::between((&model, &old), (&model, &new))).unwrap();
        assert_eq!(change["parts"], json!({"b": "2", "d": "1", "c": null}));
        assert!(Change::between((&model, &old), (&model, &old)).is_empty());
    }

    mod properties {
        use super::*;
        use proptest::prelude::*;

        fn models() -> impl Strategy<Value = Value> {
            let rows = prop::collection::btree_map("[a-f]", 0..3u8, 0..6).prop_shuffle_rows();
            (rows, 0..3u8, prop::option::of(0..2u8)).prop_map(|(rows, n, some)| {
                let mut model = json!({"rows": rows, "n": n});
                if let Some(some) = some {
                    model["some"] = json!({ "x": some });
                }
                model
            })
        }

        trait Shuffled {
            fn prop_shuffle_rows(self) -> BoxedStrategy<Vec<Value>>;
        }

        impl<S: Strategy<Value = BTreeMap<String, u8>> + 'static> Shuffled for S {
            fn prop_shuffle_rows(self) -> BoxedStrategy<Vec<Value>> {
                let items = |rows: BTreeMap<String, u8>| -> Vec<Value> {
                    rows.into_iter().map(|(key, v)| json!({"key": key, "v": v})).collect()
                };
                self.prop_map(items).prop_shuffle().boxed()
            }
        }

        proptest! {
            #[test]
            fn a_page_that_applies_a_change_has_the_next_model(old in models(), new in models()) {
                let none = Parts::new();
                let change = Change::between((&old, &none), (&new, &none));
                prop_assert_eq!(change.is_empty(), old == new);
                prop_assert_eq!(applied(&old, &change), new);
            }
        }
    }
}
