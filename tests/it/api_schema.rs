//! What a real pollbal responds is as `docs/api-v1.schema.json` says.

use serde_json::{Map, Value, json};

use crate::common::http;
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;

/// The schema, of which only the keywords that it uses are understood.
struct Schema(Value);

impl Schema {
    fn read() -> Self {
        let text = include_str!("../../docs/api-v1.schema.json");
        Self(serde_json::from_str(text).expect("the schema is JSON"))
    }

    /// That the value is of this type, and has no field that the type does not have.
    #[track_caller]
    fn assert(&self, name: &str, value: &Value) {
        let reference = json!({ "$ref": format!("#/$defs/{name}") });
        if let Err(why) = self.check(&reference, value) {
            panic!("{name}{why} in {value:#}");
        }
    }

    fn check(&self, rules: &Value, value: &Value) -> Result<(), String> {
        let none = Map::new();
        let rules = rules.as_object().unwrap_or(&none);
        for (keyword, rule) in rules {
            match keyword.as_str() {
                "$ref" => {
                    let pointer = rule.as_str().expect("a reference").trim_start_matches('#');
                    let target = self.0.pointer(pointer);
                    self.check(target.unwrap_or_else(|| panic!("no {pointer}")), value)?;
                }
                "type" => {
                    let types = rule.as_array().cloned().unwrap_or(vec![rule.clone()]);
                    if !types.iter().any(|kind| is_a(kind, value)) {
                        return Err(format!(": {value} is not of type {rule}"));
                    }
                }
                "properties" => {
                    for (name, value) in value.as_object().into_iter().flatten() {
                        let rules = rule.get(name);
                        let rules = rules.ok_or_else(|| format!(".{name} is not described"))?;
                        let checked = self.check(rules, value);
                        checked.map_err(|why| format!(".{name}{why}"))?;
                    }
                }
                "required" => {
                    for name in rule.as_array().into_iter().flatten() {
                        let name = name.as_str().expect("a name");
                        if value.get(name).is_none() {
                            return Err(format!(".{name} is missing"));
                        }
                    }
                }
                "items" => {
                    for (at, value) in value.as_array().into_iter().flatten().enumerate() {
                        let checked = self.check(rule, value);
                        checked.map_err(|why| format!("[{at}]{why}"))?;
                    }
                }
                "anyOf" | "oneOf" => {
                    let rules = rule.as_array().expect("alternatives");
                    if !rules.iter().any(|rules| self.check(rules, value).is_ok()) {
                        return Err(format!(": {value} is none of {rule}"));
                    }
                }
                "enum" => {
                    if !rule.as_array().expect("values").contains(value) {
                        return Err(format!(": {value} is none of {rule}"));
                    }
                }
                "const" if rule != value => return Err(format!(": {value} is not {rule}")),
                // These are about numbers only.
                "minimum" if value.is_number() && value.as_f64() < rule.as_f64() => {
                    return Err(format!(": {value} is below {rule}"));
                }
                "maximum" if value.is_number() && value.as_f64() > rule.as_f64() => {
                    return Err(format!(": {value} is above {rule}"));
                }
                // Fields that are not described are errors here anyway.
                "additionalProperties"
                | "const"
                | "maximum"
                | "minimum"
                | "default"
                | "description"
                | "format"
                | "title" => {}
                other => panic!("the keyword {other} is not understood"),
            }
        }
        Ok(())
    }
}

fn is_a(kind: &Value, value: &Value) -> bool {
    match kind.as_str().expect("the name of a type") {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the type {other} is not known"),
    }
}

#[test]
fn responses_are_as_the_schema_says() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website"]);
    let config = json!({ "pools": { "website": { "min_members": 2 } } });
    let pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&["first round done"]);
    let schema = Schema::read();
    let order = json!({ "nodes": [nodes[0].name()], "reason": "disk", "note": "old" });
    let refused = http::post(&stage, "/v1/disable", &order);
    assert_eq!(refused.status, 409, "{}", refused.body);
    schema.assert("Problem", &refused.json());
    let mut order = order;
    order["force"] = json!(true);
    schema.assert("Disable", &order);
    let ordered = http::post(&stage, "/v1/disable", &order);
    schema.assert("Ordered", &ordered.json());
    let node = nodes[0].name();
    for (path, name) in [
        ("/v1/status".to_owned(), "Status"),
        (format!("/v1/status?node={node}"), "Status"),
        (format!("/v1/explain?node={node}"), "Explanation"),
        ("/v1/members?pool=website".to_owned(), "Members"),
        ("/v1/events".to_owned(), "Events"),
        (format!("/v1/wait?node={node}&until=serving"), "Progress"),
    ] {
        let reply = http::get(&stage, &path);
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
        schema.assert(name, &reply.json());
    }
}

#[test]
fn what_is_not_as_the_schema_says_is_noticed() {
    let schema = Schema::read();
    let good = json!({ "reason": "disk" });
    schema.assert("Freeze", &good);
    let reference = json!({ "$ref": "#/$defs/Freeze" });
    for (field, value, why) in [
        ("reason", json!(7), ".reason: 7 is not of type"),
        ("unheard_of", json!(7), ".unheard_of is not described"),
    ] {
        let mut bad = good.clone();
        bad[field] = value;
        let found = schema.check(&reference, &bad).unwrap_err();
        assert!(found.starts_with(why), "{found}");
    }
    let found = schema.check(&reference, &json!({})).unwrap_err();
    assert!(found.contains("missing"), "{found}");
}
