//! Connections to NATS servers that read users and accounts from signed tokens.

use super::connection::Single;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

/// Returns claims about a key, signed by another one.
fn token(signer: &KeyPair, subject: &KeyPair, name: &str, nats: Value) -> String {
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = encode(json!({ "typ": "JWT", "alg": "ed25519-nkey" }));
    let claims = encode(json!({
        "jti": name,
        "iat": 1_750_000_000,
        "iss": signer.public_key(),
        "sub": subject.public_key(),
        "name": name,
        "nats": nats,
    }));
    let text = format!("{head}.{claims}");
    let signature = signer.sign(text.as_bytes()).unwrap();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Returns the claims of an account, with or without JetStream.
fn account(storage_bytes: i64) -> Value {
    json!({ "type": "account", "version": 2, "limits": {
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
        "conn": -1, "leaf": -1, "mem_storage": storage_bytes, "disk_storage": storage_bytes,
        "streams": -1, "consumer": -1,
    }})
}

fn user() -> Value {
    json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 })
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_file_with_a_token_and_its_seed_is_a_credential() {
    let (operator, system, own) =
        (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account());
    let single = Single::start(&format!(
        "max_payload: 8MB\noperator: {}\nsystem_account: {}\nresolver: MEMORY\n\
         resolver_preload: {{ {}: {}, {}: {} }}",
        token(&operator, &operator, "operator", json!({ "type": "operator", "version": 2 })),
        system.public_key(),
        system.public_key(),
        token(&operator, &system, "system", account(0)),
        own.public_key(),
        token(&operator, &own, "hubs", account(-1)),
    ));
    let file = single.folder.path().join("hub.creds");
    let write = |signer: &KeyPair| {
        let hub = KeyPair::new_user();
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            token(signer, &hub, "hub", user()),
            hub.seed().unwrap(),
        );
        std::fs::write(&file, text).unwrap();
    };
    write(&own);
    let url = format!("nats://{}", single.address);
    let flags = ["--cluster-nats", &url, "--cluster-credentials", file.to_str().unwrap()];
    single.assert_accepts(&flags).await;
    // A user of an account that the server does not know.
    write(&KeyPair::new_account());
    let error = single.error_of(&flags).await;
    assert!(error.contains("authorization violation"), "{error}");
}
