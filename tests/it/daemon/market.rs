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
    Query,
    Usage,
}

use super::wire::date_in_days;
use Api::{Activate, Query, Usage};

/// A scripted marketplace. A usage report stands under its first code. It knows every code, and calls each alive for a year, until it is told otherwise.
pub(crate) struct Market {
    peer: Peer,
    script: Arc<Mutex<Script>>,
}

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
            let (api, code) = (api_of(&seen.path), code_of(&seen.body));
            asked.lock().expect("not poisoned").answer(api, code)
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
        let about = seen.iter().filter(|seen| code_of(&seen.body) == code);
        about.map(|seen| api_of(&seen.path)).collect()
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

    fn answer(&mut self, api: Api, code: String) -> Say {
        if let Some(trouble) = &self.trouble {
            return trouble.clone();
        }
        if let Some(says) = self.answers.get_mut(&(api, code)) {
            let next = if says.len() > 1 { says.pop_front() } else { says.front().cloned() };
            return next.expect("at least one answer");
        }
        match api {
            Activate => done(&self.expires),
            Query => alive(&self.expires),
            Usage => taken(&Value::Null),
        }
    }
}

fn api_of(path: &str) -> Api {
    match path.rsplit('/').next() {
        Some("activate") => Activate,
        Some("heartbeat") => Query,
        Some("software-usage-info") => Usage,
        _ => panic!("nothing of ours asks {path}"),
    }
}

fn code_of(body: &str) -> String {
    let body: Value = serde_json::from_str(body).expect("JSON");
    let code = body["license"].as_str().or(body["usage_info"][0]["license"].as_str());
    code.expect("a code").to_owned()
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
