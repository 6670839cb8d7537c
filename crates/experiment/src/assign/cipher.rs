//! Encrypted payloads, as GrowthBook's SDKs decrypt them: `base64(iv).base64(AES-128-CBC with PKCS#7 padding)`.
//!
//! In: a text and a key in base64.  Out: the text, encrypted or decrypted.
//! Never here: where keys come from; randomness (the initialisation vector is an argument).
//! Start at [`decrypt`]. Sources: NIST SP 800-38A, section 6.2; RFC 5652, section 6.3.

use aes::Aes128;
use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, block_padding::Pkcs7};

use super::error::AssignError;

/// Base64 as browsers read it: padding may be missing, last bits may be set.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Bytes of a key, of a block and of an initialisation vector.
const LENGTH: usize = 16;

fn bytes(text: &str) -> Option<Vec<u8>> {
    let text: String = text.chars().filter(|c| !matches!(c, ' ' | '\t' | '\n' | '\u{c}' | '\r')).collect();
    BASE64.decode(text).ok()
}

fn sixteen(text: &str, problem: &'static str) -> Result<[u8; LENGTH], AssignError> {
    bytes(text).and_then(|bytes| bytes.try_into().ok()).ok_or(AssignError::Cipher(problem))
}

const WRONG_KEY: &str = "the key is not 16 bytes in base64: copy it again from the connection's page";

/// Decrypts `iv.cipher` with a key, all in base64. Bytes that are no UTF-8 become U+FFFD, as in `TextDecoder`.
///
/// Errors: another form, another length, or padding that does not fit, which most wrong keys give.
pub fn decrypt(text: &str, key: &str) -> Result<String, AssignError> {
    let key = sixteen(key, WRONG_KEY)?;
    let mut parts = text.split('.');
    let (Some(iv), Some(cipher)) = (parts.next(), parts.next()) else {
        return Err(AssignError::Cipher("the text has no `.` between its initialisation vector and its cipher text"));
    };
    let iv = sixteen(iv, "the initialisation vector is not 16 bytes in base64")?;
    let mut cipher = bytes(cipher).ok_or(AssignError::Cipher("the cipher text is no base64"))?;
    let plain = cbc::Decryptor::<Aes128>::new(&key.into(), &iv.into())
        .decrypt_padded::<Pkcs7>(&mut cipher)
        .map_err(|_| AssignError::Cipher("the key is another, or the text is damaged: check both"))?;
    let plain = plain.strip_prefix(b"\xef\xbb\xbf").unwrap_or(plain);
    Ok(String::from_utf8_lossy(plain).into_owned())
}

/// Encrypts a text with a key in base64. `iv` must be random and never used twice with one key.
///
/// Errors: a key that is not 16 bytes.
pub fn encrypt(text: &str, key: &str, iv: [u8; LENGTH]) -> Result<String, AssignError> {
    let key = sixteen(key, WRONG_KEY)?;
    let cipher = cbc::Encryptor::<Aes128>::new(&key.into(), &iv.into()).encrypt_padded_vec::<Pkcs7>(text.as_bytes());
    Ok(format!("{}.{}", BASE64.encode(iv), BASE64.encode(cipher)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_vector_comes_out() {
        // NIST SP 800-38A, F.2.1: the first block of CBC-AES128.Encrypt.
        let unhex = |text: &str| -> Vec<u8> {
            (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
        };
        let key = BASE64.encode(unhex("2b7e151628aed2a6abf7158809cf4f3c"));
        let iv = unhex("000102030405060708090a0b0c0d0e0f").try_into().unwrap();
        let plain = unhex("6bc1bee22e409f96e93d7e117393172a");
        let key_bytes = sixteen(&key, "").unwrap();
        let cipher =
            cbc::Encryptor::<Aes128>::new(&key_bytes.into(), &<[u8; 16]>::into(iv)).encrypt_padded_vec::<Pkcs7>(&plain);
        assert_eq!(cipher[..16], unhex("7649abac8119b246cee98e9b12e9197d")[..]);
    }

    #[test]
    fn what_is_encrypted_is_decrypted() {
        let key = BASE64.encode([7; 16]);
        for text in ["", "{}", "é用户😀", &"x".repeat(10_000)] {
            let cipher = encrypt(text, &key, [9; 16]).unwrap();
            assert_eq!(decrypt(&cipher, &key).unwrap(), text);
            assert!(decrypt(&cipher[..cipher.len() - 8], &key).is_err());
        }
        assert!(encrypt("", "short", [0; 16]).is_err());
    }
}
