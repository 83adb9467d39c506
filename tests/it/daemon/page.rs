//! The admin page of the real program, visited as a browser visits it: cookies kept, forms sent with what the
//! page put into them, and no redirect followed unseen.

mod acts;
mod lists;
mod pages;
mod sign_in;

use super::{ACCESS_KEY, ADMIN_TOKEN, Answer, Daemon, ORDER_KEY, PATIENCE, SOFTWARE_TOKEN};
use crate::peer::{AK, SK};
use reqwest::{Client, Method, RequestBuilder};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// A browser without a script.
struct Browser<'d> {
    daemon: &'d Daemon,
    client: Client,
    cookies: Mutex<BTreeMap<String, String>>,
    lang: &'static str,
}

impl<'d> Browser<'d> {
    fn new(daemon: &'d Daemon) -> Self {
        Self::speaking(daemon, "en")
    }

    fn speaking(daemon: &'d Daemon, lang: &'static str) -> Self {
        let client = Client::builder().no_proxy().tls_certs_only([]).timeout(PATIENCE);
        let client = client.redirect(reqwest::redirect::Policy::none());
        let client = client.build().expect("a client");
        Self { daemon, client, cookies: Mutex::default(), lang }
    }

    /// One that has signed in.
    async fn signed_in(daemon: &'d Daemon) -> Self {
        let browser = Self::new(daemon);
        let answer = browser.post("/sign-in", &[("token", ADMIN_TOKEN)]).await;
        assert_eq!((answer.status, answer.header("location")), (303, "/"), "{}", answer.text);
        browser
    }

    fn origin(&self) -> String {
        format!("http://{}", self.daemon.admin_addr())
    }

    /// A request with everything that a browser adds by itself.
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let cookies = self.cookies.lock().expect("not poisoned");
        let cookies: Vec<_> = cookies.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let url = format!("{}{path}", self.origin());
        self.client
            .request(method, url)
            .header("cookie", cookies.join("; "))
            .header("accept-language", self.lang)
            .header("sec-fetch-site", "same-origin")
    }

    /// Sends a request and keeps its cookies.
    async fn send(&self, request: RequestBuilder) -> Answer {
        let answer = super::wire::answer(request).await;
        for cookie in answer.headers.get_all("set-cookie") {
            let cookie = cookie.to_str().expect("text");
            let (pair, rest) = cookie.split_once(';').expect("attributes");
            let (name, value) = pair.split_once('=').expect("a value");
            let mut cookies = self.cookies.lock().expect("not poisoned");
            if rest.contains("Max-Age=0") {
                cookies.remove(name);
            } else {
                cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        for secret in [ADMIN_TOKEN, SOFTWARE_TOKEN, ACCESS_KEY, ORDER_KEY, AK, SK] {
            assert!(!answer.text.contains(secret), "a secret is on the page");
        }
        answer
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// A page that is there.
    async fn page(&self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, "text/html; charset=utf-8"),
            "{path}: {}",
            answer.text
        );
        answer.text
    }

    /// A form as it is sent, without its session's token.
    fn form(&self, path: &str, fields: &[(&str, &str)]) -> RequestBuilder {
        let pairs = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
        self.request(Method::POST, path)
            .header("origin", self.origin())
            .header("content-type", "application/x-www-form-urlencoded")
            .body(pairs.collect::<Vec<_>>().join("&"))
    }

    async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.send(self.form(path, fields)).await
    }

    /// A form of the page at `path`, with the token that the page put into it.
    async fn submit(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let token = form_token(&self.page(path).await);
        let fields: Vec<_> = fields.iter().copied().chain([("form", token.as_str())]).collect();
        self.post(path.split('?').next().expect("a path"), &fields).await
    }
}

/// What a page puts into its forms.
fn form_token(page: &str) -> String {
    let (_, rest) = page.split_once("name=\"form\" value=\"").expect("a form");
    rest.split('"').next().expect("its end").to_owned()
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// What follows `start` in a page, up to `end`.
fn between<'p>(page: &'p str, start: &str, end: &str) -> &'p str {
    let (_, rest) = page.split_once(start).unwrap_or_else(|| panic!("no {start} in {page}"));
    rest.split(end).next().expect("a rest")
}
