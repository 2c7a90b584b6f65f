package pglocal

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
)

// NewPassword makes a password and the form in which a server stores it, which
// stands in its place in CREATE ROLE. Without one, any account of the machine
// could connect, and a superuser may run commands as the server's account.
//
// One round of PBKDF2 is enough for 128 random bits, and keeps the usual 4,096
// rounds out of every connection that a test makes (RFC 5803 gives the form).
func NewPassword() (password, verifier string) {
	const rounds = 1
	password = rand.Text()
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails
	salted, err := pbkdf2.Key(sha256.New, password, salt, rounds, sha256.Size)
	if err != nil {
		panic(err) // only for parameters that FIPS mode refuses
	}
	stored := sha256.Sum256(mac(salted, "Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return password, fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s",
		rounds, b64(salt), b64(stored[:]), b64(mac(salted, "Server Key")))
}

func mac(key []byte, message string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(message))
	return h.Sum(nil)
}
