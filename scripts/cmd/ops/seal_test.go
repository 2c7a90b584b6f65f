package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/shared/config"
)

// asJob runs a command as a job of the deployment does.
func (r *rig) asJob(args ...string) said {
	r.t.Helper()
	var out, problems bytes.Buffer
	variables := config.Map(map[string]string{
		"CLOUD_RUN_JOB": "ops", "DATABASE_URL": r.pool.Config().ConnString(), "WEBHOOK_SEALING_KEY": sealKey, "WEBHOOK_ALLOW_LOCAL": "true",
		"TASKS_LOCATION": where,
	})
	code := run(r.t.Context(), world{lookup: variables, now: func() time.Time { return r.clock.Now() }, root: r.root, out: &out, problems: &problems}, args)
	return said{code, out.String(), problems.String()}
}

func publicKey(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

func TestAJobPrintsSecretsSealed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	open := func(sealed string) string {
		t.Helper()
		text, ok := strings.CutPrefix(sealed, sealedPrefix)
		raw, err := base64.StdEncoding.DecodeString(text)
		if !ok || err != nil {
			t.Fatalf("%q is not sealed: %v", sealed, err)
		}
		secret, err := rsa.DecryptOAEP(sha256.New(), nil, private, raw, nil)
		if err != nil {
			t.Fatal(err)
		}
		return string(secret)
	}
	key := publicKey(t, private.Public())
	s := r.asJob("merchants", "create", "--name", "Tea shop", "--webhook-url", r.endpoint.url, "--seal-for", key, "--json")
	var m made
	if err := json.Unmarshal([]byte(s.out), &m); err != nil || s.code != exitDone {
		t.Fatalf("status %d, %v: %s%s", s.code, err, s.problems, s.out)
	}
	if err := r.authenticate(open(m.Key)); err != nil {
		t.Errorf("the key that was sealed: %v", err)
	}
	if secret := open(m.Secret); !strings.HasPrefix(secret, "whsec_") {
		t.Errorf("the signing secret that was sealed is %q", secret)
	}
	s = r.asJob("keys", "create", m.Merchant, "--seal-for", key, "--json")
	var k made
	if err := json.Unmarshal([]byte(s.out), &k); err != nil || s.code != exitDone {
		t.Fatalf("status %d, %v: %s%s", s.code, err, s.problems, s.out)
	}
	if err := r.authenticate(open(k.Key)); err != nil {
		t.Errorf("the key that was sealed: %v", err)
	}
}

// Nothing is made whose secret nobody gets to see.
func TestAJobPrintsNoSecretInClear(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	m := r.merchant()
	small, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	before := r.ops("merchants", "list") + r.ops("keys", "list", m.Merchant)
	for words, flags := range map[string][]string{
		"--seal-for":       nil,
		"openssl pkey":     {"--seal-for", "hunter2"},
		"RSA key":          {"--seal-for", publicKey(t, small.Public())},
		"2048 bits":        {"--seal-for", base64.StdEncoding.EncodeToString([]byte("nothing"))},
		"flag needs an ar": {"--seal-for"},
	} {
		for _, command := range [][]string{{"merchants", "create", "--name", "Tea shop"}, {"keys", "create", m.Merchant}} {
			s := r.asJob(append(command, flags...)...)
			if s.code != exitUsage || !strings.Contains(s.problems, words) || strings.Contains(s.out+s.problems, "sk_") {
				t.Errorf("%v %v: status %d, %q", command, flags, s.code, s.problems)
			}
		}
	}
	if after := r.ops("merchants", "list") + r.ops("keys", "list", m.Merchant); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}
