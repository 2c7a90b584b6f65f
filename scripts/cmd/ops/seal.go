package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"flag"
)

// Where a command runs as a Cloud Run job, what it prints is logged, for everybody who may
// read logs and for as long as they are kept. So a secret is printed there only sealed, for
// the one who asked: by RSA-OAEP with SHA-256, for a public key of theirs. It is opened by
//
//	openssl pkeyutl -decrypt -inkey FILE -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256

// sealedPrefix tells a sealed secret from one in clear.
const sealedPrefix = "sealed:"

// jobVariable is set by Cloud Run in a job, and nowhere else.
const jobVariable = "CLOUD_RUN_JOB"

// A disclosure makes a secret what may be printed of it.
type disclosure func(secret string) (string, error)

// sealFlag is for commands that print secrets. What it returns is called before anything
// is made, so that nothing is made whose secret nobody gets to see.
func sealFlag(f *flag.FlagSet) func(*session) (disclosure, error) {
	text := f.String("seal-for", "", "")
	return func(s *session) (disclosure, error) {
		if *text == "" {
			if job, _ := s.settings(jobVariable); job != "" {
				return nil, usageError("what a job prints is logged: have its secrets sealed, by --seal-for PUBLIC_KEY")
			}
			return func(secret string) (string, error) { return secret, nil }, nil
		}
		key, err := parsePublicKey(*text)
		if err != nil {
			return nil, err
		}
		return func(secret string) (string, error) {
			if secret == "" {
				return "", nil
			}
			sealed, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, key, []byte(secret), nil)
			return sealedPrefix + base64.StdEncoding.EncodeToString(sealed), err
		}, nil
	}
}

func parsePublicKey(text string) (*rsa.PublicKey, error) {
	const want = usageError("--seal-for is not the public part of an RSA key of 2048 bits or more: give what\n" +
		"    openssl pkey -in FILE -pubout -outform DER | base64 -w0\nprints")
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, want
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, want
	}
	key, ok := parsed.(*rsa.PublicKey)
	if !ok || key.N.BitLen() < 2048 {
		return nil, want
	}
	return key, nil
}
