//! The marketplace's open API as the tests script it: per code and interface, with every signature checked.

use crate::peer::{self, Peer, Say};
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

/// Which interface is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Api {
    Activate,
    ActivateBatch,
    Query,
    QueryBatch,
    Usage,
}

use super::wire::date_in_days;
use Api::{Activate, ActivateBatch, Query, QueryBatch, Usage};

/// A scripted marketplace. A usage report stands under its first code, a batch under [`ANY`]. It knows every code, and calls each alive for a year, until it is told otherwise.
pub(crate) struct Market {
    peer: Peer,
    script: Arc<Mutex<Script>>,
}

/// The code of all batches.
pub(crate) const ANY: &str = "any";

struct Script {
    /// The end of every code, the same each time it is asked for: an answer that moves is a change.
    expires: String,
    /// One answer after the other, the last one for ever.
    answers: HashMap<(Api, String), VecDeque<Say>>,
    /// Whatever is asked.
    trouble: Option<Say>,
}

impl Market {
    pub(crate) async fn start() -> Self {
        Self::on(peer::listener().await)
    }

    pub(crate) fn on(listener: TcpListener) -> Self {
        let script = Arc::new(Mutex::new(Script::new()));
        let asked = Arc::clone(&script);
        let peer = Peer::deciding(listener, move |seen| {
            let api = api_of(&seen.path);
            asked.lock().expect("not poisoned").answer(api, &codes_of(&seen.body))
        });
        Self { peer, script }
    }

    pub(crate) fn http(&self) -> String {
        self.peer.http()
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.peer.addr
    }

    /// From now on this code is answered so: one after the other, the last one for ever.
    pub(crate) fn says<const N: usize>(&self, api: Api, code: &str, says: [Say; N]) {
        let mut script = self.script.lock().expect("not poisoned");
        script.answers.insert((api, code.to_owned()), says.into());
    }

    /// Whatever is asked is answered so, until `None`.
    pub(crate) fn trouble(&self, say: Option<Say>) {
        self.script.lock().expect("not poisoned").trouble = say;
    }

    pub(crate) fn count(&self) -> usize {
        self.peer.count()
    }

    /// What was asked about a code, in order.
    pub(crate) fn asked(&self, code: &str) -> Vec<Api> {
        let seen = self.peer.seen();
        let about = seen.iter().filter(|seen| codes_of(&seen.body).iter().any(|it| it == code));
        about.map(|seen| api_of(&seen.path)).collect()
    }

    /// The codes of all batches of this kind, in order.
    pub(crate) fn batches(&self, api: Api) -> Vec<Vec<String>> {
        let seen = self.peer.seen().into_iter().filter(|seen| api_of(&seen.path) == api);
        seen.map(|seen| codes_of(&seen.body)).collect()
    }

    /// The bodies of all usage reports, in order.
    pub(crate) fn reports(&self) -> Vec<String> {
        let seen = self.peer.seen();
        let reports = seen.into_iter().filter(|seen| api_of(&seen.path) == Usage);
        reports.map(|seen| seen.body).collect()
    }

    pub(crate) fn count_of(&self, api: Api, code: &str) -> usize {
        self.asked(code).into_iter().filter(|asked| *asked == api).count()
    }

    /// Every request carried a signature that is valid for this very address.
    fn check_signatures(&self) {
        for seen in self.peer.seen() {
            assert_eq!(seen.signature, Ok(()), "{seen:?}");
            assert_eq!(seen.host, self.addr().to_string());
        }
    }
}

impl Drop for Market {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check_signatures();
        }
    }
}

impl Script {
    fn new() -> Self {
        Self { expires: date_in_days(365), answers: HashMap::new(), trouble: None }
    }

    fn answer(&mut self, api: Api, codes: &[String]) -> Say {
        if let Some(trouble) = &self.trouble {
            return trouble.clone();
        }
        let named = match api {
            ActivateBatch | QueryBatch => ANY,
            Activate | Query | Usage => &codes[0],
        };
        if let Some(says) = self.answers.get_mut(&(api, named.to_owned())) {
            let next = if says.len() > 1 { says.pop_front() } else { says.front().cloned() };
            return next.expect("at least one answer");
        }
        match api {
            Activate => done(&self.expires),
            ActivateBatch => error(200, "92020000"),
            Query => alive(&self.expires),
            QueryBatch => alive_all(codes.iter().map(String::as_str), &self.expires),
            Usage => taken(&Value::Null),
        }
    }
}

fn api_of(path: &str) -> Api {
    match path.rsplit('/').take(3).collect::<Vec<_>>()[..] {
        ["activate", _, "v1"] => Activate,
        ["activate", _, "v2"] => ActivateBatch,
        ["heartbeat", _, "v1"] => Query,
        ["heartbeat", _, "v2"] => QueryBatch,
        ["software-usage-info", ..] => Usage,
        _ => panic!("nothing of ours asks {path}"),
    }
}

fn codes_of(body: &str) -> Vec<String> {
    let body: Value = serde_json::from_str(body).expect("JSON");
    let text = |code: &Value| code.as_str().expect("a code").to_owned();
    if let Some(codes) = body["license_list"].as_array() {
        return codes.iter().map(text).collect();
    }
    let code = body["license"].as_str().or(body["usage_info"][0]["license"].as_str());
    vec![code.expect("a code").to_owned()]
}

/// 92020000 to a usage report, with these data.
pub(crate) fn taken(data: &Value) -> Say {
    let body = json!({"error_code": "92020000", "error_msg": "success", "data": data});
    Say::new(200, body.to_string())
}

/// 92020000 to an activation, as the guide prints it: a document inside a text.
pub(crate) fn done(expires: &str) -> Say {
    let info = json!({"status": "ALIVE", "expire_time": expires, "product_id": "product-1",
                      "amount": 1, "order_id": "CS-purchase"});
    let data = json!({"license_code_info": info.to_string()});
    let body = json!({"error_code": "92020000", "error_msg": "success", "data": data});
    Say::new(200, body.to_string())
}

fn standing(status: &str, expires: &str) -> Say {
    let data = json!({"status": status, "expire_time": expires, "product_id": "product-1"});
    let body = json!({"error_code": "92020000", "error_msg": "success", "data": data});
    Say::new(200, body.to_string())
}

/// 92020000 to a query of many codes: these are alive.
pub(crate) fn alive_all<'c>(codes: impl Iterator<Item = &'c str>, expires: &str) -> Say {
    let told =
        codes.map(|code| json!({"license_code": code, "status": "ALIVE", "expire_time": expires}));
    let data: Vec<Value> = told.collect();
    let body = json!({"error_code": "92020000", "error_msg": "success", "data": data});
    Say::new(200, body.to_string())
}

pub(crate) fn alive(expires: &str) -> Say {
    standing("ALIVE", expires)
}

pub(crate) fn expired(expires: &str) -> Say {
    standing("EXPIRED", expires)
}

pub(crate) fn released() -> Say {
    standing("RELEASED", &date_in_days(-1))
}

/// A code of the marketplace or its gateway.
pub(crate) fn error(http: u16, code: &str) -> Say {
    let body = json!({"error_code": code, "error_msg": format!("message of {code}")});
    Say::new(http, body.to_string())
}
