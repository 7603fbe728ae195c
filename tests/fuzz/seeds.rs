//! What the fuzzer begins with: the fixtures of the other tests in the shape of each target, and a few
//! spellings that lead into the corners.

use serde_json::Value;

const WIDGETS: &str = include_str!("../fixtures/widgets.json");
const MESSAGES: &str = include_str!("../fixtures/messages.json");

/// Forms beside the fixtures: `query LF body`.
const FORMS: [&str; 21] = [
    "\n[member_id]=a&]]LANG]x=b&[[status]]=c",
    "AUTH_ID=a]=b\nAUTH_ID=a%5d=b",
    "member_id=a&member_id=a\n%6dember_id=a",
    "member_id=a\nmember_id=b",
    "\nmember.id=b&member+id=c&+member_id=d",
    "\nmember[id=b&member_id%5B%5D=c&member_id[a][b=d",
    "x=1;member_id=2&LANG=en;\nx=1;member_id=2",
    "\nmember_id%00junk=b&%00member_id=a&member_id%00[]=c",
    "\nAUTH_ID=%ff&REFRESH_ID=%zz&APP_SID=%4&status=%",
    "\nPLACEMENT_OPTIONS=%ff%zz&PLACEMENT_OPTIONS=%ff%zz",
    "&&&a=1&&\n&a&=b&",
    "DOMAIN=a+b&LANG=%20\nDOMAIN=a%20b&LANG=+",
    "[member_id]=a&member_id%5D=b&=member_id\nmember_id",
    "\nPLACEMENT_OPTIONS={\"a\":[1,2,{\"b\":null}]}&PLACEMENT.OPTIONS=2",
    "\nmember_id[a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a]=b",
    "AUTH_ID=%D0%B6&AUTH_ID=\u{436}\n",
    "auth[member_id]=a\nevent=x&auth%5Bmember_id%5D=a&auth[x][y]=1&auth[x][z]=2",
    "auth[x]=1;auth=2\n+auth[a]=1&auth[]=2&auth[+]=3&auth[a]%00=4&auth[a][b=5&auth[a]x=6",
    "auth=1\nauth[a]=1&auth[a][b]=2&[auth][member_id]=3&auth[[a]]=4&auth]=5",
    "\nauth[domain]=A.b&auth[domain]=a.b:&DOMAIN=a.B&event.token=1&workflow[id=2",
    "\nauth[a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a][a]=b&auth[x]=1",
];

/// Small calls that are accepted: `target LF cookie LF body`, and as they come on a connection.
const CALLS: [&str; 8] = [
    "DOMAIN=a&PROTOCOL=1&LANG=en\n\nmember_id=3f7a90c1d2e45b68a0719cbe8d243f56&PLACEMENT=D",
    "DOMAIN=a&PROTOCOL=1&LANG=en\na=1; member.id=2\nmember_id=3f7a90c1d2e45b68a0719cbe8d243f56&PLACEMENT=D&AUTH_ID=x&PLACEMENT_OPTIONS={}",
    "POST /?DOMAIN=a&PROTOCOL=1&LANG=en HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nX_Bitrix24.Lang: x\r\n\r\nmember_id=3f7a90c1d2e45b68a0719cbe8d243f56&PLACEMENT=D",
    "/all?x=1\nauth=1; auth[a]=2\nevent=ONX&auth[domain]=A.b&auth[member_id]=3f7a90c1d2e45b68a0719cbe8d243f56&auth[client_endpoint]=http://a.b/rest/&auth[access_token]=0123456789abcdef",
    "/all?auth[domain]=a.b\nevent=1\nevent_token=x&workflow_id=1&auth[member_id]=3f7a90c1d2e45b68a0719cbe8d243f56",
    "/all?DOMAIN=a&status[]=1\nauth=1\nmember_id=3f7a90c1d2e45b68a0719cbe8d243f56&event=x&auth=2&LANG=%ff",
    "/strict?DOMAIN=a&PROTOCOL=1&LANG=en\n\nmember_id=3f7a90c1d2e45b68a0719cbe8d243f56&PLACEMENT=D&auth[member_id]=3f7a90c1d2e45b68a0719cbe8d243f56&auth[domain]=A:",
    "POST /all?page=2 HTTP/1.1\r\nHost: a\r\nContent-Type: application/json; charset=utf8\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n{\"member_id\":1}",
];

const HEADS: [&str; 10] = [
    "GET http://H.example:80/w?x HTTP/1.1\r\nHost: h.example:80\r\n\r\n",
    "POST /a%252fb/...%zz/c.php HTTP/1.1\r\nHost: [::1]:80\r\nTransfer-Encoding: Chunked\r\n\r\n",
    "POST / HTTP/1.0\r\nContent-Length: 12\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: h.example\r\nX:\r\nY: \u{e9}\t\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "GET /a/../b HTTP/1.1\nHost: a\r\n folded\r\nX : y\r\n\r\n",
    "GET /%2e%2E/%5c%00 HTTP/1.1\r\nHost: u@a, b\r\nHost: c\r\n\r\n",
    "CONNECT h.example:1 HTTP/1.1\r\nHost: h.example:1\r\n\r\n",
    "POST /a//b?c#d HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
    "\r\nGET / HTTP/2.0\r\nHost: a\rb\0\r\n\r\n",
];

const CHUNKS: [&str; 6] = [
    "3\r\nabc\r\n1F;x=\"y\"\r\n0123456789012345678901234567890\r\n0\r\nX: y\r\n\r\nnext",
    "0\r\n\r\n",
    "00000000000000a\r\n0123456789\r\n000\r\n\r\n",
    "3\nabc\r\n\r\n0x3\r\n+3 ;\r\n",
    "3;a\rb\r\nabcd\r\n0\r\n\n",
    "FFFFFFFFFFFFFFF\r\n",
];

/// The seeds of one target.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    let read = |fixtures: &str| -> Vec<Case> {
        let fixtures: Vec<Value> = serde_json::from_str(fixtures).expect("the fixtures");
        fixtures.iter().map(Case::of).collect()
    };
    let mut cases = read(WIDGETS);
    // The route that takes every kind of message.
    cases.extend(read(MESSAGES).into_iter().map(|case| Case {
        target: format!("/all{}", case.target),
        ..case
    }));
    let texts = |texts: &[&str]| {
        texts
            .iter()
            .map(|text| text.as_bytes().to_vec())
            .collect::<Vec<_>>()
    };
    match target {
        "form" => [cases.iter().map(Case::form).collect(), texts(&FORMS)].concat(),
        "head" => [cases.iter().map(Case::head).collect(), texts(&HEADS)].concat(),
        "chunks" => texts(&CHUNKS),
        "decision" => {
            let forms = FORMS.iter().map(|form| {
                let (query, body) = form.split_once('\n').unwrap_or_default();
                format!("{query}\nmember.id=1; a=b; LANG=x\n{body}").into_bytes()
            });
            let split = cases.iter().map(|case| {
                let cookie = "PHPSESSID=1; member%5fid=2";
                format!("{}\n{cookie}\n{}", case.target, case.body).into_bytes()
            });
            let whole = cases
                .iter()
                .map(|case| [case.head(), case.body.clone().into_bytes()].concat());
            split
                .chain(whole)
                .chain(forms)
                .chain(texts(&HEADS))
                .chain(texts(&CALLS))
                .collect()
        }
        other => panic!("no target {other}"),
    }
}

/// Where `FUZZ_SEEDS` names a folder, the seeds of the target are put into it.
#[allow(
    dead_code,
    reason = "of the fuzz targets; the property tests take the seeds as they are"
)]
pub fn write(target: &str) {
    let Some(folder) = std::env::var_os("FUZZ_SEEDS") else {
        return;
    };
    for (at, seed) in of(target).iter().enumerate() {
        std::fs::write(std::path::Path::new(&folder).join(format!("seed-{at:03}")), seed).expect("a seed");
    }
}

struct Case {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Case {
    fn of(case: &Value) -> Case {
        let text = |key: &str| case[key].as_str().unwrap_or_default().to_owned();
        let headers = case["headers"].as_object().into_iter().flatten();
        Case {
            method: text("method"),
            target: text("path"),
            headers: headers
                .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
                .collect(),
            body: text("body"),
        }
    }

    fn form(&self) -> Vec<u8> {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        format!("{query}\n{}", self.body).into_bytes()
    }

    fn head(&self) -> Vec<u8> {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: widgets.example\r\n",
            self.method, self.target
        );
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", self.body.len()));
        head.into_bytes()
    }
}
