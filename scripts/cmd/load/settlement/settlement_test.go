package settlement

import (
	"bytes"
	"io"
	"os"
	"testing"

	"github.com/tollgate/tollgate/scripts/cmd/load/instance"
	"github.com/tollgate/tollgate/shared/postgres/pgtest"
)

func TestMain(m *testing.M) {
	instance.Become(nil)
	os.Exit(m.Run())
}

// All that is measured happens. How fast is no matter here.
func TestRehearsal(t *testing.T) {
	t.Parallel()
	r, err := quick().run(t.Context(), func() string { return pgtest.New(t) }, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	r.Print(&text)
	t.Logf("%s", &text)
	if !r.OK() {
		t.Error("a bound was broken")
	}
	for _, n := range r.Nights {
		if n.Lines != 2*n.Payments || n.PerSecond == 0 {
			t.Errorf("%+v", n)
		}
	}
}

// A report says that payments were lost, and that memory grew.
func TestWhatIsWrongIsTold(t *testing.T) {
	t.Parallel()
	r := &Report{Nights: []Night{{Payments: 10, Memory: 50}, {Payments: 100, Memory: 90}, {Payments: 100, Kills: 1, Memory: 500, Wrong: []string{"1 lost"}}}}
	r.judge(plan{Timed: true})
	var wrong []string
	for _, v := range r.Verdicts {
		if !v.OK {
			wrong = append(wrong, v.What)
		}
	}
	if len(r.Verdicts) != 4 || len(wrong) != 2 || wrong[0] != "100 payments, 1 kills" || wrong[1] != "memory" {
		t.Errorf("%+v", r.Verdicts)
	}
}

func TestCommand(t *testing.T) {
	t.Parallel()
	for _, bad := range [][]string{{"--payments", "x"}, {"--payments", "1000,100"}, {"--payments", "1"}, {"--kills", "-1"}, {"more"}} {
		if _, err := Command(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if _, err := Command([]string{"--payments", "500,1000", "--kills", "0"}); err != nil {
		t.Error(err)
	}
}
