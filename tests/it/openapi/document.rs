//! The document, and the few rules of JSON Schema that it uses.

use super::daemon::Answered;
use authcoded::domain::slots::parse_rfc3339;
use reqwest::Method;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use yaml_rust2::{Yaml, YamlLoader};

/// Keywords that are checked below, or that only explain.
const KEYWORDS: [&str; 16] = [
    "type",
    "$ref",
    "additionalProperties",
    "const",
    "default",
    "description",
    "enum",
    "format",
    "items",
    "maxLength",
    "maximum",
    "minLength",
    "minimum",
    "oneOf",
    "properties",
    "required",
];

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Listener {
    Admin,
    Software,
}

impl Listener {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Admin => Self::Software,
            Self::Software => Self::Admin,
        }
    }
}

/// One method of one path.
pub(super) struct Operation {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) listeners: Vec<Listener>,
    /// The security schemes, one of which is needed; none when it is open.
    pub(super) schemes: BTreeSet<String>,
    parameters: Vec<Value>,
    document: Value,
}

impl Operation {
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Whether a path of a request is this one.
    pub(super) fn is_at(&self, path: &str) -> bool {
        let (mut ours, mut theirs) = (self.path.split('/'), path.split('/'));
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return true,
                (Some(one), Some(other)) if one == other || one.starts_with('{') => {}
                _ => return false,
            }
        }
    }

    pub(super) fn query_parameters(&self) -> BTreeSet<String> {
        let in_query = self.parameters.iter().filter(|one| one["in"] == "query");
        in_query.map(|one| one["name"].as_str().expect("a name").to_owned()).collect()
    }

    /// The path with its parameters filled in.
    pub(super) fn target(&self, values: &[(&str, &str)]) -> String {
        let fill = |path: String, (name, value): &(&str, &str)| {
            path.replace(&format!("{{{name}}}"), value)
        };
        let target = values.iter().fold(self.path.clone(), fill);
        assert!(!target.contains('{'), "{target} has a parameter that this test does not know");
        target
    }
}

pub(super) struct Document(Value);

impl Document {
    pub(super) fn load() -> Self {
        let text = include_str!("../../../openapi.yaml");
        let mut found = YamlLoader::load_from_str(text).expect("YAML");
        assert_eq!(found.len(), 1, "one document");
        Self(to_json(found.remove(0)))
    }

    /// The value at `a/b/c`.
    pub(super) fn at(&self, path: &str) -> &Value {
        let found = path.split('/').try_fold(&self.0, |value, key| value.get(key));
        let found = found.unwrap_or_else(|| panic!("there is no {path} in the document"));
        self.resolved(found)
    }

    fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(target) => self.at(target.strip_prefix("#/").expect("a place in the document")),
            None => value,
        }
    }

    pub(super) fn operations(&self) -> Vec<Operation> {
        let mut operations = Vec::new();
        for (path, item) in self.0["paths"].as_object().expect("paths") {
            for (key, document) in item.as_object().expect("operations") {
                if key == "parameters" {
                    continue;
                }
                let method = key.to_uppercase().parse().expect("a method");
                operations.push(self.operation(method, path, item, document));
            }
        }
        operations
    }

    fn operation(&self, method: Method, path: &str, item: &Value, document: &Value) -> Operation {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let listener = |tag: &Value| match tag.as_str() {
            Some("admin") => Listener::Admin,
            Some("software") => Listener::Software,
            _ => panic!("{path}: {tag} is no listener"),
        };
        let security = document["security"].as_array().expect("each operation names its security");
        let names = security.iter().flat_map(|one| one.as_object().expect("a scheme").keys());
        let schemes: BTreeSet<String> = names.cloned().collect();
        for scheme in &schemes {
            assert_eq!(self.at(&format!("components/securitySchemes/{scheme}/scheme")), "bearer");
        }
        let parameters = [list(&item["parameters"]), list(&document["parameters"])].concat();
        Operation {
            method,
            path: path.to_owned(),
            listeners: document["tags"].as_array().expect("tags").iter().map(listener).collect(),
            schemes,
            parameters: parameters.iter().map(|one| self.resolved(one).clone()).collect(),
            document: document.clone(),
        }
    }

    pub(super) fn body_fields(&self, operation: &Operation) -> BTreeSet<String> {
        let body = self.resolved(&operation.document["requestBody"]);
        let schema = self.resolved(&body["content"]["application/json"]["schema"]);
        assert_eq!(schema["additionalProperties"], false, "bodies are read strictly");
        let fields = schema["properties"].as_object();
        fields.into_iter().flat_map(Map::keys).cloned().collect()
    }

    /// Every status that some operation may answer.
    pub(super) fn statuses(&self) -> BTreeSet<u16> {
        let of = |op: Operation| {
            let responses = op.document["responses"].as_object().expect("responses").clone();
            responses.into_iter().map(|(status, _)| status.parse().expect("a status"))
        };
        self.operations().into_iter().flat_map(of).collect()
    }

    /// What an answer has that the document does not say, or the other way round.
    pub(super) fn faults(&self, operation: &Operation, answered: &Answered) -> Vec<String> {
        let status = answered.status.to_string();
        let Some(response) = operation.document["responses"].get(&status) else {
            return vec![format!("{status} is not described")];
        };
        let content = self.resolved(response)["content"].as_object().expect("a content");
        let Some(media) = content.get(&answered.content_type) else {
            return vec![format!("{status} as {} is not described", answered.content_type)];
        };
        let mut faults = Vec::new();
        self.check(&media["schema"], &answered.body, "", &mut faults);
        faults
    }

    pub(super) fn faults_of(&self, schema: &str, value: &Value) -> Vec<String> {
        let mut faults = Vec::new();
        self.check(self.at(&format!("components/schemas/{schema}")), value, "", &mut faults);
        faults
    }

    fn check(&self, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
        let schema = self.resolved(schema);
        if let Some(choices) = schema["oneOf"].as_array() {
            let fits = |choice: &&Value| {
                let mut faults = Vec::new();
                self.check(choice, value, at, &mut faults);
                faults.is_empty()
            };
            if choices.iter().filter(fits).count() != 1 {
                faults.push(format!("{at}: {value} is not one of the choices"));
            }
            return;
        }
        if !has_type(&schema["type"], value) {
            faults.push(format!("{at}: {value} is not of type {}", schema["type"]));
            return;
        }
        if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
            faults.push(format!("{at}: {value} is not one of {}", schema["enum"]));
        }
        if schema.get("const").is_some_and(|only| only != value) {
            faults.push(format!("{at}: {value} is not {}", schema["const"]));
        }
        match value {
            Value::String(text)
                if schema["format"] == "date-time"
                    && (parse_rfc3339(text).is_none() || !text.ends_with('Z')) =>
            {
                faults.push(format!("{at}: {text} is no time in UTC"));
            }
            Value::Array(items) => {
                for (nth, item) in items.iter().enumerate() {
                    self.check(&schema["items"], item, &format!("{at}/{nth}"), faults);
                }
            }
            Value::Object(fields) if schema["additionalProperties"] != true => {
                self.check_fields(schema, fields, at, faults);
            }
            _ => {}
        }
    }

    /// Answers always have all of their fields, so that what is described is also what is required.
    fn check_fields(
        &self,
        schema: &Value,
        fields: &Map<String, Value>,
        at: &str,
        faults: &mut Vec<String>,
    ) {
        let described: BTreeSet<&str> = schema["properties"]
            .as_object()
            .into_iter()
            .flat_map(Map::keys)
            .map(|k| &**k)
            .collect();
        let required = schema["required"].as_array().into_iter().flatten();
        let required: BTreeSet<&str> = required.filter_map(Value::as_str).collect();
        let there: BTreeSet<&str> = fields.keys().map(String::as_str).collect();
        for name in there.difference(&described) {
            faults.push(format!("{at}/{name} is not described"));
        }
        for name in described.difference(&there).chain(required.difference(&there)) {
            faults.push(format!("{at}/{name} is described and not there"));
        }
        for name in described.symmetric_difference(&required) {
            faults.push(format!("{at}/{name} is always there, so it is required and described"));
        }
        for (name, value) in fields.iter().filter(|(name, _)| described.contains(name.as_str())) {
            self.check(&schema["properties"][name], value, &format!("{at}/{name}"), faults);
        }
    }
}

/// What is no keyword that is checked here: a slip of the pen would otherwise describe nothing.
pub(super) fn strange_keywords(schema: &Value) -> Vec<&str> {
    let keywords = schema.as_object().expect("a schema").keys().map(String::as_str);
    let mut strange: Vec<_> = keywords.filter(|word| !KEYWORDS.contains(word)).collect();
    let properties = schema["properties"].as_object().into_iter().flat_map(Map::values);
    let choices = schema["oneOf"].as_array().into_iter().flatten();
    for inner in properties.chain(choices).chain(schema.get("items")) {
        strange.extend(strange_keywords(inner));
    }
    strange
}

fn has_type(wanted: &Value, value: &Value) -> bool {
    match wanted {
        Value::Array(choices) => choices.iter().any(|wanted| has_type(wanted, value)),
        Value::String(name) => match name.as_str() {
            "null" => value.is_null(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            other => panic!("{other} is no type that this test checks"),
        },
        _ => panic!("a schema without a type"),
    }
}

fn to_json(yaml: Yaml) -> Value {
    match yaml {
        Yaml::Null => Value::Null,
        Yaml::Boolean(yes) => yes.into(),
        Yaml::Integer(number) => number.into(),
        Yaml::String(text) => text.into(),
        Yaml::Array(items) => items.into_iter().map(to_json).collect(),
        Yaml::Hash(pairs) => {
            let pair = |(key, value)| match key {
                Yaml::String(key) => (key, to_json(value)),
                other => panic!("{other:?} is no text: quote it"),
            };
            Value::Object(pairs.into_iter().map(pair).collect())
        }
        other => panic!("{other:?} is of no use in this document"),
    }
}
