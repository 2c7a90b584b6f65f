package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/shared/telemetry"
)

type database struct {
	URL     telemetry.Secret `env:"URL,required" desc:"PostgreSQL connection" who:"terraform"`
	MaxOpen int              `env:"MAX_OPEN" envDefault:"4"`
}

type settings struct {
	database // embedded, without a prefix of its own

	Replica  database           `envPrefix:"REPLICA_"`
	Key      telemetry.Secret   `env:"KEY,required" desc:"Stripe's secret key" who:"the operator, in Secret Manager"`
	Timeout  time.Duration      `env:"TIMEOUT" envDefault:"5s"`
	Issuers  []string           `env:"ISSUERS"`
	Secrets  []telemetry.Secret `env:"SECRETS"`
	Endpoint url.URL            `env:"ENDPOINT,required"`
	Proxy    *url.URL           `env:"PROXY"`
	Debug    bool               `env:"DEBUG"`
	Level    slog.Level         `env:"LEVEL" envDefault:"INFO"`
	Share    float64            `env:"SHARE"`
	Small    int8               `env:"SMALL"`
	Note     string             // not configuration
}

func complete() map[string]string {
	return map[string]string{
		"URL":         "postgres://u:hunter2@db/pay",
		"REPLICA_URL": "postgres://u:hunter2@replica/pay",
		"KEY":         "sk_test_1",
		"ENDPOINT":    "https://api.example.com/v1",
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	vars := complete()
	vars["ISSUERS"] = "https://a.example, https://b.example ,"
	vars["SECRETS"] = "whsec_1,whsec_2"
	vars["TIMEOUT"] = "250ms"
	vars["REPLICA_MAX_OPEN"] = "9"
	vars["PROXY"] = "http://proxy:8080"
	vars["DEBUG"] = "true"
	vars["LEVEL"] = "WARN"
	vars["SHARE"] = "0.5"
	vars["UNKNOWN"] = "ignored"
	got, err := Load[settings](Map(vars))
	if err != nil {
		t.Fatal(err)
	}
	want := settings{
		database: database{URL: "postgres://u:hunter2@db/pay", MaxOpen: 4},
		Replica:  database{URL: "postgres://u:hunter2@replica/pay", MaxOpen: 9},
		Key:      "sk_test_1",
		Timeout:  250 * time.Millisecond,
		Issuers:  []string{"https://a.example", "https://b.example"},
		Secrets:  []telemetry.Secret{"whsec_1", "whsec_2"},
		Endpoint: url.URL{Scheme: "https", Host: "api.example.com", Path: "/v1"},
		Proxy:    &url.URL{Scheme: "http", Host: "proxy:8080"},
		Debug:    true,
		Level:    slog.LevelWarn,
		Share:    0.5,
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(settings{})); diff != "" {
		t.Errorf("settings differ (-want +got):\n%s", diff)
	}
}

func TestLoadUsesDefaults(t *testing.T) {
	t.Parallel()
	vars := complete()
	vars["TIMEOUT"] = "" // empty counts as not set
	got, err := Load[settings](Map(vars))
	if err != nil {
		t.Fatal(err)
	}
	if got.Timeout != 5*time.Second || got.MaxOpen != 4 || got.Issuers != nil || got.Proxy != nil || got.Level != slog.LevelInfo {
		t.Errorf("defaults: %+v", got)
	}
}

func TestLoadReportsAllMistakesTogether(t *testing.T) {
	t.Parallel()
	got, err := Load[settings](Map(map[string]string{
		"URL":              "postgres://u:hunter2@db/pay",
		"REPLICA_MAX_OPEN": "many",
		"KEY":              "",
		"TIMEOUT":          "30",
		"ENDPOINT":         "//user:hunter2@host",
		"PROXY":            "http://user:hunter2@[",
		"DEBUG":            "yes please",
		"LEVEL":            "LOUD",
		"SHARE":            "half",
		"SMALL":            "300",
	}))
	want := strings.TrimSpace(`
configuration: 10 mistakes
  REPLICA_URL is not set (PostgreSQL connection; set by terraform)
  REPLICA_MAX_OPEN is "many": want a whole number
  KEY is not set (Stripe's secret key; set by the operator, in Secret Manager)
  TIMEOUT is "30": want a duration with its unit, such as 90s
  ENDPOINT is malformed: want an absolute URL, such as https://example.com/path
  PROXY is malformed: want an absolute URL, such as https://example.com/path
  DEBUG is "yes please": want true or false
  LEVEL can't be used: slog: level string "LOUD": unknown name
  SHARE is "half": want a number
  SMALL is "300", which is out of range: want a whole number`)
	if err == nil || err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
	report, ok := errors.AsType[*Error](err)
	if !ok || len(report.Mistakes) != 10 || report.Mistakes[0].Variable != "REPLICA_URL" {
		t.Errorf("mistakes: %+v", report)
	}
	if got.URL != "" {
		t.Error("a failed Load returned values")
	}
}

func TestLoadReadsMountedFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tests := []struct {
		name    string
		vars    map[string]string
		want    telemetry.Secret
		mistake string
	}{
		{"file", map[string]string{"KEY_FILE": write("key", "sk_1")}, "sk_1", ""},
		{"line break", map[string]string{"KEY_FILE": write("line", "sk_1\r\n")}, "sk_1", ""},
		{"inner line breaks", map[string]string{"KEY_FILE": write("pem", "a\nb\n\n")}, "a\nb\n", ""},
		{"value empty", map[string]string{"KEY": "", "KEY_FILE": write("key2", "sk_2")}, "sk_2", ""},
		{"both", map[string]string{"KEY": "sk_1", "KEY_FILE": write("key3", "sk_2")}, "", "KEY is set, and KEY_FILE is too"},
		{"empty file", map[string]string{"KEY_FILE": write("empty", "\n")}, "", "KEY is empty in the file " + dir},
		{"no file", map[string]string{"KEY_FILE": filepath.Join(dir, "none")}, "", "KEY can't be read from the file that KEY_FILE names: open " + dir},
	}
	for _, tt := range tests {
		type keyed struct {
			Key telemetry.Secret `env:"KEY,required"`
		}
		got, err := Load[keyed](Map(tt.vars))
		if got.Key != tt.want || (err == nil) != (tt.mistake == "") || err != nil && !strings.Contains(err.Error(), tt.mistake) {
			t.Errorf("%s: key %q, error %v", tt.name, got.Key.Reveal(), err)
		}
	}
}

// Nothing may come from the process's own environment.
func TestLoadIgnoresTheEnvironment(t *testing.T) {
	t.Setenv("TOLLGATE_CONFIG_TEST", "leaked")
	type one struct {
		Value string `env:"TOLLGATE_CONFIG_TEST"`
	}
	got, err := Load[one](Map(nil))
	if err != nil || got.Value != "" {
		t.Errorf("Load = %+v, %v", got, err)
	}
}

func TestLoadReportsMistakesInTheStruct(t *testing.T) {
	t.Parallel()
	type broken struct {
		//lint:ignore U1000 the field is the mistake under test
		hidden  string        `env:"HIDDEN"`
		Typo    string        `env:"TYPO,requird"`
		Strange chan int      `env:"STRANGE"`
		Default time.Duration `env:"DEFAULT" envDefault:"soon"`
		List    []int8        `env:"LIST"`
	}
	_, err := Load[broken](Map(map[string]string{"STRANGE": "1", "LIST": "1,300"}))
	want := strings.TrimSpace(`
configuration: 5 mistakes
  HIDDEN belongs to the unexported field hidden, which can't be set
  TYPO has the tag option "requird", which is not supported
  STRANGE can't be used: env: no parser found for field "Strange" of type "chan int"
  DEFAULT is "soon": want a duration with its unit, such as 90s
  LIST is malformed: want a list, each item a whole number`)
	if err == nil || err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
}

func TestOneMistake(t *testing.T) {
	t.Parallel()
	type one struct {
		Value string `env:"VALUE,notEmpty" who:"terraform"`
	}
	_, err := Load[one](Map(nil))
	if want := "configuration: 1 mistake\n  VALUE is not set (set by terraform)"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

type pool struct {
	Size    int           `env:"SIZE" desc:"connections" who:"terraform"`
	Wait    time.Duration `env:"WAIT"`
	Retries int           `env:"RETRIES" envDefault:"3"`
	Kind    string
}

func TestFillKeepsWhatIsNotSet(t *testing.T) {
	t.Parallel()
	got := pool{Size: 4, Wait: time.Second, Retries: 9, Kind: "small"}
	err := Fill(Map(map[string]string{"DB_WAIT": "5s", "SIZE": "7"}), "DB_", &got)
	if want := (pool{Size: 4, Wait: 5 * time.Second, Retries: 3, Kind: "small"}); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	err = Fill(Map(map[string]string{"DB_SIZE": "many", "DB_WAIT": "5"}), "DB_", &got)
	if m := Mistakes(err); len(m) != 2 || m[0].Variable != "DB_SIZE" || m[0].Who != "terraform" || m[1].Variable != "DB_WAIT" {
		t.Errorf("mistakes %+v", m)
	}
	if m := Mistakes(errors.New("another")); m != nil {
		t.Errorf("mistakes %+v", m)
	}
}

// shops is a part that reads itself: what a shop needs is asked for only if it is open.
type shops struct {
	Open []string `env:"OPEN"`
	Keys map[string]string
}

func (s *shops) ReadConfig(lookup func(string) (string, bool)) (mistakes []Mistake) {
	names, err := Load[struct {
		Open []string `env:"OPEN,required"`
	}](lookup)
	mistakes = Mistakes(err)
	s.Open, s.Keys = names.Open, map[string]string{}
	for _, name := range names.Open {
		key, err := Load[struct {
			Key string `env:"KEY,required"`
		}](func(variable string) (string, bool) { return lookup(strings.ToUpper(name) + "_" + variable) })
		mistakes = append(mistakes, Mistakes(err)...)
		s.Keys[name] = key.Key
	}
	return mistakes
}

func TestAPartReadsItself(t *testing.T) {
	t.Parallel()
	type shopping struct {
		Shops shops
		URL   string `env:"URL,required"`
	}
	vars := map[string]string{"OPEN": "north,south", "NORTH_KEY": "n", "SOUTH_KEY": "s", "URL": "u"}
	got, err := Load[shopping](Map(vars))
	if want := map[string]string{"north": "n", "south": "s"}; err != nil || !cmp.Equal(got.Shops.Keys, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	vars["OPEN"] = "north"
	delete(vars, "SOUTH_KEY")
	if _, err := Load[shopping](Map(vars)); err != nil {
		t.Errorf("a closed shop needs a key: %v", err)
	}
	delete(vars, "NORTH_KEY")
	delete(vars, "URL")
	_, err = Load[shopping](Map(vars))
	if m := Mistakes(err); len(m) != 2 || m[0].Variable != "KEY" || m[1].Variable != "URL" {
		t.Errorf("mistakes %+v", m)
	}
}

// Span checks itself: the end may not come before the beginning.
type Span struct {
	From int `env:"FROM,required"`
	To   int `env:"TO"`
}

func (s *Span) CheckConfig() []Mistake {
	if s.To < s.From {
		return []Mistake{{Variable: "TO", Problem: fmt.Sprintf("is %d, before FROM", s.To)}}
	}
	return nil
}

func TestAPartChecksItself(t *testing.T) {
	t.Parallel()
	type spans struct {
		Span          // asked by way of spans too, as Go's embedding has it
		Nested Span   `envPrefix:"NESTED_"`
		URL    string `env:"URL,required"`
	}
	load := func(vars map[string]string) string {
		_, err := Load[struct{ Spans spans }](Map(vars))
		var said []string
		for _, m := range Mistakes(err) {
			said = append(said, m.String())
		}
		return strings.Join(said, "; ")
	}
	for name, c := range map[string]struct {
		vars map[string]string
		want string
	}{
		"all well": {map[string]string{"FROM": "1", "TO": "2", "NESTED_FROM": "0", "URL": "u"}, ""},
		"one of two": {
			map[string]string{"FROM": "3", "TO": "2", "NESTED_FROM": "0", "URL": "u"}, "TO is 2, before FROM",
		},
		"with all the rest": {
			map[string]string{"FROM": "3", "TO": "2", "NESTED_FROM": "0"}, "TO is 2, before FROM; URL is not set",
		},
		"not before it is complete": {
			map[string]string{"TO": "2", "NESTED_FROM": "7", "NESTED_TO": "5", "URL": "u"}, "FROM is not set; TO is 5, before FROM",
		},
	} {
		if got := load(c.vars); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	var top Span
	if err := Fill(Map(map[string]string{"FROM": "3"}), "", &top); len(Mistakes(err)) != 1 {
		t.Errorf("the struct itself is not asked: %v", err)
	}
}

func TestErrorsAboutVariables(t *testing.T) {
	t.Parallel()
	err := errors.Join(errors.New("RATE is 0: want 1"), errors.New("stripe: STRIPE_API_BASE must be an address"))
	want := []Mistake{{Variable: "RATE", Problem: "is 0: want 1"}, {Variable: "STRIPE_API_BASE", Problem: "must be an address"}}
	if diff := cmp.Diff(want, About(err)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if m := About(nil); m != nil {
		t.Errorf("of no error: %v", m)
	}
}
