package isotable

import (
	"strings"
	"testing"
)

const head = "code,number,exponent,kind,name,note\n"

func TestGenerate(t *testing.T) {
	t.Parallel()
	got, err := Generate(strings.NewReader("# comment\n" + head +
		"ANG,532,2,withdrawn,Guilder,\nJPY,392,0,currency,Yen,\nXAU,959,,unit,Gold,\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`{"ANG", 2, true},  // Guilder`, `{"JPY", 0, false}, // Yen`} {
		if !strings.Contains(string(got), want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	if strings.Contains(string(got), "XAU") {
		t.Error("a metal entered the table")
	}
}

func TestGenerateRefusesBadData(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"nothing":       "",
		"lower case":    head + "jpy,392,0,currency,Yen,\n",
		"no exponent":   head + "JPY,392,,currency,Yen,\n",
		"big exponent":  head + "JPY,392,5,currency,Yen,\n",
		"unknown kind":  head + "JPY,392,0,coin,Yen,\n",
		"unsorted":      head + "USD,840,2,currency,Dollar,\nJPY,392,0,currency,Yen,\n",
		"repeated":      head + "JPY,392,0,currency,Yen,\nJPY,392,0,currency,Yen,\n",
		"missing field": head + "JPY,392,0,currency\n",
	}
	for name, source := range tests {
		if out, err := Generate(strings.NewReader(source)); err == nil {
			t.Errorf("%s passed: %s", name, out)
		}
	}
}
