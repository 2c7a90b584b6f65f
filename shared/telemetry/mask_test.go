package telemetry

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tollgate/tollgate/shared/pan"
)

func TestMask(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"card 4242 4242 4242 4242 declined":            "card [masked] declined",
		"sk_test_51Abc":                                "[masked]",
		"key=sk_7f3a9c, next":                          "key=[masked], next",
		`{"key":"sk_7f3a9c"}`:                          `{"key":"[masked]"}`,
		`body "a\nsk_7f3a9c"`:                          `body "a\n[masked]"`,
		"secret%3Dsk_7f3a9c&x=1":                       "secret%3D[masked]&x=1",
		"xsk_live_51Abc":                               "x[masked]",
		"rk_live_51Abc":                                "[masked]",
		"my_sk_7f3a9c":                                 "my_[masked]",
		"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw==":     "[masked]",
		"old whsec_a,new whsec_b":                      "old [masked],new [masked]",
		"Authorization: Bearer eyJhbGciOi.eyJpc3.c2ln": "Authorization: Bearer [masked]",
		"map[Authorization:[bearer abc123]]":           "map[Authorization:[bearer [masked]]]",
		"BEARER  sk_7f3a9c!":                           "BEARER  [masked]!",
		"Bearer 4242424242424242xyz":                   "Bearer [masked]",
		"Bearer a Bearer b":                            "Bearer [masked] Bearer [masked]",
	}
	for s, want := range tests {
		if got := Mask(s); got != want {
			t.Errorf("Mask(%q) = %q, want %q", s, got, want)
		}
	}
}

func TestMaskKeepsOrdinaryText(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"",
		"task_01jd3k, risk_score, mark_paid",
		"a key starts with sk_",
		"pay_01jd3k7z9x4m2n8p5q6r3s1t0v AUTHORIZED",
		"019ab6c4-5d1f-7c2e-8a40-2f6d1b7e9c30",
		"the bearer",
		"Bearer",
		"forbearer xyz",
		"order 20261123042715",
		"日本 円",
	} {
		if got := Mask(s); got != s {
			t.Errorf("Mask(%q) = %q", s, got)
		}
	}
}

func FuzzMask(f *testing.F) {
	for _, seed := range []string{
		"sk_test_51Abc", "Bearer 4242424242424242xyz", "whsec_a whsec_b", "asksk_1", `\nsk_1`, "bearer\tsk_", "bearer bearer bearer x", "4242 4242 sk_4242 4242",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		once := Mask(s)
		if twice := Mask(once); twice != once {
			t.Errorf("Mask(%q) = %q, masked again %q", s, once, twice)
		}
		if pan.Find(once) {
			t.Errorf("Mask(%q) = %q holds a card number", s, once)
		}
		if utf8.ValidString(s) && !utf8.ValidString(once) {
			t.Errorf("Mask(%q) broke the encoding: %q", s, once)
		}
		for _, secret := range []string{"sk_live_Zx9", "whsec_Zx9", "Bearer Zx9", "4242-4242-4242-4242"} {
			between := Mask(s + " | " + secret + " | " + s)
			if strings.Contains(between, secret) {
				t.Errorf("Mask(%q) left %s", between, secret)
			}
		}
	})
}
