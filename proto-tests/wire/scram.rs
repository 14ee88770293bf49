//! A server's half of SCRAM-SHA-256, written from RFC 5802, to log in against.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// What a server knows and says in one exchange.
#[derive(Clone, Debug)]
pub struct ScramServer {
    pub password: Vec<u8>,
    pub salt: Vec<u8>,
    pub iterations: u32,
    pub nonce: String,
}

/// What came of client-final.
#[derive(Debug)]
pub struct Final {
    /// Whether the client knows the password.
    pub proved: bool,
    /// The decoded `c=`: gs2 header and binding data.
    pub binding: Vec<u8>,
    /// server-final, `v=…`.
    pub answer: String,
}

impl ScramServer {
    pub fn new(password: &str) -> ScramServer {
        ScramServer {
            password: password.as_bytes().to_vec(),
            salt: vec![7; 16],
            iterations: 4096,
            nonce: "server-part".to_owned(),
        }
    }

    /// server-first for the nonce of the client.
    pub fn first(&self, client_nonce: &str) -> String {
        let salt = STANDARD.encode(&self.salt);
        format!("r={client_nonce}{},s={salt},i={}", self.nonce, self.iterations)
    }

    /// Checks client-final and answers it.
    pub fn finish(&self, client_first_bare: &str, server_first: &str, client_final: &str) -> Final {
        let (without_proof, proof) = client_final.rsplit_once(",p=").expect("a proof");
        let message = format!("{client_first_bare},{server_first},{without_proof}");
        let salted = self.salted_password();
        let client_key = hmac(&salted, b"Client Key");
        let stored_key: [u8; 32] = Sha256::digest(client_key).into();
        let signature = hmac(&stored_key, message.as_bytes());
        let proof = STANDARD.decode(proof).expect("base64");
        let expected: Vec<u8> = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        let server_key = hmac(&salted, b"Server Key");
        let binding = without_proof.split(',').next().and_then(|item| item.strip_prefix("c="));
        Final {
            proved: proof == expected,
            binding: STANDARD.decode(binding.expect("c= comes first")).expect("base64"),
            answer: format!("v={}", STANDARD.encode(hmac(&server_key, message.as_bytes()))),
        }
    }

    fn salted_password(&self) -> [u8; 32] {
        let mut block = hmac(&self.password, &[&self.salt[..], &[0, 0, 0, 1]].concat());
        let mut sum = block;
        for _ in 1..self.iterations {
            block = hmac(&self.password, &block);
            sum.iter_mut().zip(block).for_each(|(sum, byte)| *sum ^= byte);
        }
        sum
    }
}

/// HMAC-SHA-256, for keys of at most a block.
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut padded = [0; 64];
    padded[..key.len()].copy_from_slice(key);
    let inner = Sha256::new().chain_update(padded.map(|byte| byte ^ 0x36)).chain_update(message);
    let outer = Sha256::new().chain_update(padded.map(|byte| byte ^ 0x5C));
    outer.chain_update(inner.finalize()).finalize().into()
}

#[test]
fn the_server_of_these_tests_is_that_of_rfc_7677() {
    let server = ScramServer {
        password: b"pencil".to_vec(),
        salt: STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64"),
        iterations: 4096,
        nonce: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".to_owned(),
    };
    let first = server.first("rOprNGfwEbeRWgbNEkqO");
    let client_final = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    let last = server.finish("n=user,r=rOprNGfwEbeRWgbNEkqO", &first, client_final);
    assert!(last.proved);
    assert_eq!(last.binding, b"n,,");
    assert_eq!(last.answer, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
}
