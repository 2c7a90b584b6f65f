package postgres_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tollgate/tollgate/shared/config"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/telemetry"
)

// authority signs servers' certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	PEM  string
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

// server signs a certificate as Cloud SQL's are: its name is the instance's, and no address.
func (a *authority) server(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "project:tollgate"}, NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// cloudSQL speaks as much of PostgreSQL's protocol as logging in to Cloud SQL by IAM takes:
// TLS, a password in clear inside it, and then nothing but pings.
type cloudSQL struct {
	listener net.Listener
	cert     tls.Certificate

	mu     sync.Mutex
	logins []string // user and password of each
}

func newCloudSQL(t *testing.T, cert tls.Certificate) *cloudSQL {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &cloudSQL{listener: l, cert: cert}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer func() { _ = conn.Close() }()
				if err := s.serve(conn); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Log(err) // a client that does not trust the certificate goes away
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	return s
}

func (s *cloudSQL) serve(conn net.Conn) error {
	in := pgproto3.NewBackend(conn, conn)
	if first, err := in.ReceiveStartupMessage(); err != nil {
		return err
	} else if _, ok := first.(*pgproto3.SSLRequest); !ok {
		return fmt.Errorf("the client begins without TLS: %T", first)
	}
	if _, err := conn.Write([]byte("S")); err != nil {
		return err
	}
	secure := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{s.cert}})
	in = pgproto3.NewBackend(secure, secure)
	startup, err := in.ReceiveStartupMessage()
	if err != nil {
		return err
	}
	in.Send(&pgproto3.AuthenticationCleartextPassword{})
	if err := in.Flush(); err != nil {
		return err
	}
	if err := in.SetAuthType(pgproto3.AuthTypeCleartextPassword); err != nil {
		return err
	}
	password, err := in.Receive()
	if err != nil {
		return err
	}
	user := startup.(*pgproto3.StartupMessage).Parameters["user"]
	s.mu.Lock()
	s.logins = append(s.logins, user+" "+password.(*pgproto3.PasswordMessage).Password)
	s.mu.Unlock()
	in.Send(&pgproto3.AuthenticationOk{})
	for {
		in.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		if err := in.Flush(); err != nil {
			return err
		}
		message, err := in.Receive()
		if err != nil {
			return err
		}
		if _, ok := message.(*pgproto3.Terminate); ok {
			return nil
		}
		in.Send(&pgproto3.EmptyQueryResponse{})
	}
}

func (s *cloudSQL) seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.logins...)
}

func (s *cloudSQL) url(options string) telemetry.Secret {
	return telemetry.Secret("postgres://run-settle%40project.iam@" + s.listener.Addr().String() + "/tollgate?" + options)
}

// metadataServer gives out tokens as Google's does, each good for so many seconds, and makes
// it the one that this process asks.
func metadataServer(t *testing.T, seconds int) (away func()) {
	t.Helper()
	given := 0
	var mu sync.Mutex
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Metadata-Flavor") != "Google" || r.URL.Path != "/computeMetadata/v1/instance/service-accounts/default/token" {
			http.NotFound(w, r)
			return
		}
		if scopes := r.URL.Query().Get("scopes"); scopes != "https://www.googleapis.com/auth/sqlservice.login" {
			t.Errorf("a token is asked for with the scopes %q", scopes)
		}
		mu.Lock()
		defer mu.Unlock()
		given++
		w.Header().Set("Metadata-Flavor", "Google")
		_, _ = fmt.Fprintf(w, `{"access_token": "token-%d", "expires_in": %d, "token_type": "Bearer"}`, given, seconds)
	}))
	t.Cleanup(server.Close)
	t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(server.URL, "http://"))
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
	t.Setenv("HOME", t.TempDir()) // where gcloud would have left credentials
	return server.Close
}

// Every connection logs in with a token that is good, and only to a server of the right
// authority, whatever its certificate is called.
func TestLogInAsTheServiceAccount(t *testing.T) {
	metadataServer(t, 1) // so short that each connection needs another
	ca := newAuthority(t, "the instance's")
	s := newCloudSQL(t, ca.server(t))
	c := postgres.Config{URL: s.url("sslmode=verify-ca"), PoolMax: 2, IAM: true, CA: ca.PEM}
	pool, err := postgres.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	for range 2 {
		conn, err := pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Release()
		if err := conn.Ping(t.Context()); err != nil {
			t.Error(err)
		}
	}
	want := "run-settle@project.iam token-1, run-settle@project.iam token-2"
	if got := strings.Join(s.seen(), ", "); got != want {
		t.Errorf("the server saw %s; want %s", got, want)
	}
	single, err := postgres.ConnConfig(t.Context(), c)
	if err != nil || single.Password != "token-3" {
		t.Errorf("a single connection: %v, %v", single, err)
	}
}

func TestATokenGoesToNoOtherServer(t *testing.T) {
	metadataServer(t, 3600)
	mine, other := newAuthority(t, "mine"), newAuthority(t, "another")
	s := newCloudSQL(t, other.server(t))
	pool, err := postgres.Open(t.Context(), postgres.Config{URL: s.url("sslmode=verify-ca"), PoolMax: 1, IAM: true, CA: mine.PEM})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	var unknown x509.UnknownAuthorityError
	if err := pool.Ping(t.Context()); !errors.As(err, &unknown) || !postgres.Unreachable(err) {
		t.Errorf("logging in to a server of another authority: %v", err)
	}
	if seen := s.seen(); len(seen) != 0 {
		t.Errorf("the server saw %v", seen)
	}
}

func TestWithoutATokenTheDatabaseIsUnreachable(t *testing.T) {
	away := metadataServer(t, 3600)
	ca := newAuthority(t, "mine")
	s := newCloudSQL(t, ca.server(t))
	pool, err := postgres.Open(t.Context(), postgres.Config{URL: s.url("sslmode=verify-ca"), PoolMax: 1, IAM: true, CA: ca.PEM})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	away()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := pool.Ping(ctx); !postgres.Unreachable(err) || len(s.seen()) != 0 {
		t.Errorf("without a token: %v, and the server saw %v", err, s.seen())
	}
	if postgres.Unreachable(errors.New("another")) {
		t.Error("any error is taken for a database that is away")
	}
}

func TestMistakesOfTheDatabasesConfiguration(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "mine").PEM
	const host = "postgres://run-settle%40project.iam@10.0.0.3/tollgate"
	for name, c := range map[string]struct {
		vars map[string]string
		want []string // each mistake's variable, and a part of what is said of it
	}{
		"as locally":           {map[string]string{"DATABASE_URL": "postgres://u:p@127.0.0.1/x"}, nil},
		"as deployed":          {map[string]string{"DATABASE_URL": host + "?sslmode=verify-ca", "DATABASE_IAM": "true", "DATABASE_CA": ca}, nil},
		"by name":              {map[string]string{"DATABASE_URL": host + "?sslmode=verify-full", "DATABASE_IAM": "true"}, nil},
		"not set":              {nil, []string{"DATABASE_URL is not set"}},
		"not a URL":            {map[string]string{"DATABASE_URL": "postgres://u:hunter2@[x"}, []string{"DATABASE_URL is not a PostgreSQL connection URL"}},
		"a token in the clear": {map[string]string{"DATABASE_URL": host + "?sslmode=disable", "DATABASE_IAM": "true"}, []string{"DATABASE_URL lacks sslmode"}},
		"a token to anybody":   {map[string]string{"DATABASE_URL": host + "?sslmode=require", "DATABASE_IAM": "true"}, []string{"DATABASE_URL lacks sslmode"}},
		"sometimes without TLS": {
			map[string]string{"DATABASE_URL": host, "DATABASE_IAM": "true"}, []string{"DATABASE_URL lacks sslmode"},
		},
		"two passwords": {
			map[string]string{"DATABASE_URL": "postgres://u:hunter2@h/x?sslmode=verify-full", "DATABASE_IAM": "true"},
			[]string{"DATABASE_URL has a password"},
		},
		"an authority that nobody asks": {
			map[string]string{"DATABASE_URL": host + "?sslmode=require", "DATABASE_CA": ca}, []string{"DATABASE_CA is set"},
		},
		"several at once": {
			map[string]string{
				"DATABASE_URL": "postgres://u:hunter2@h/x?sslmode=require", "DATABASE_IAM": "true", "DATABASE_CA": "hunter2", "DATABASE_POOL_MAX": "0",
			},
			[]string{"DATABASE_POOL_MAX is 0", "DATABASE_URL lacks sslmode", "DATABASE_URL has a password", "DATABASE_CA is malformed"},
		},
	} {
		_, err := config.Load[struct{ Database postgres.Config }](config.Map(c.vars))
		found := config.Mistakes(err)
		ok := len(found) == len(c.want) && (err == nil || !strings.Contains(err.Error(), "hunter2"))
		for i := range min(len(found), len(c.want)) {
			ok = ok && strings.HasPrefix(found[i].String(), c.want[i])
		}
		if !ok {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
	}
}
