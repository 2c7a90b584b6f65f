package trial

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestOnlyGoogleIsThere(t *testing.T) {
	t.Parallel()
	issuer := httptest.NewServer(http.HandlerFunc(tokens))
	t.Cleanup(issuer.Close)
	g, err := startGoogle(t.TempDir(), map[string]string{tokenHost: issuer.Listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.close)
	certificate, err := os.ReadFile(g.environment()["SSL_CERT_FILE"])
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := url.Parse(g.environment()["HTTPS_PROXY"])
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(certificate)
	transport := &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: trusted}}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport}

	resp, err := client.Post("https://"+tokenHost+"/token", "application/x-www-form-urlencoded", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if text, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(text), `"access_token"`) {
		t.Errorf("the token endpoint answered %s %s, %v", resp.Status, text, err)
	}
	if resp, err := client.Get("https://api.stripe.com/v1/charges"); err == nil {
		_ = resp.Body.Close()
		t.Errorf("a provider was there, and answered %s", resp.Status)
	}
	if got, want := g.strangers(), []string{"CONNECT api.stripe.com:443"}; !slices.Equal(got, want) {
		t.Errorf("strangers are %q, want %q", got, want)
	}
}

// Trees that Google's buildpack refuses are refused here too.
func TestTreesThatTheBuildpackRefuses(t *testing.T) {
	t.Parallel()
	const descriptor = "[[io.buildpacks.build.env]]\nname = \"GOOGLE_FUNCTION_TARGET\"\nvalue = \"F\"\n"
	const module = "module example.com/f\n\ngo 1.26.0\n"
	declarative := "package f\n\nimport _ \"" + framework + "/functions\"\n"
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"without a descriptor":  {map[string]string{"go.mod": module}, "project.toml"},
		"that says nothing":     {map[string]string{"project.toml": "[_]\n", "go.mod": module}, "names nothing to build"},
		"without a package":     {map[string]string{"project.toml": descriptor, "go.mod": module}, "no Go files"},
		"with two packages":     {map[string]string{"project.toml": descriptor, "go.mod": module, "a.go": "package a\n", "b.go": "package b\n"}, "several packages"},
		"of the other kind":     {map[string]string{"project.toml": descriptor, "go.mod": module, "a.go": "package a\n"}, "by the target's name"},
		"without the framework": {map[string]string{"project.toml": descriptor, "go.mod": module, "a.go": declarative}, "does not have the framework"},
		"with the package's name taken": {
			map[string]string{"project.toml": descriptor, "go.mod": module, "a.go": strings.Replace(declarative, "package f", "package serverless_function_source_code", 1)},
			"for the function's folder",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tree := t.TempDir()
			for name, text := range c.files {
				if err := os.WriteFile(filepath.Join(tree, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := Build(t.Context(), tree, t.TempDir()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q in it", err, c.want)
			}
		})
	}
}
