package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/tollgate/tollgate/scripts/internal/setup"
	"github.com/tollgate/tollgate/shared/ledger"
	"github.com/tollgate/tollgate/shared/local/clock"
	"github.com/tollgate/tollgate/shared/local/stack"
	"github.com/tollgate/tollgate/shared/local/stack/shop"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/provider/bank"
	"github.com/tollgate/tollgate/shared/provider/paypal"
	"github.com/tollgate/tollgate/shared/provider/stripe"
)

// A system is everything that runs, with a shop in it.
type system struct {
	*printer
	stack   *stack.Stack
	shop    *shop.Shop
	api     shop.Client
	log     *os.File
	seated  bool // other commands reach it
	brief   bool // of the story only the first scene is told
	amiss   bool // the story was not as it should be
	closers []func()

	violations violations
}

// violations are answers that do not fit functions/openapi.yaml.
type violations struct {
	mu  sync.Mutex
	all []string
}

func (s *system) violated(err error) {
	s.printer.wrong("does not fit functions/openapi.yaml: " + err.Error())
	s.violations.mu.Lock()
	defer s.violations.mu.Unlock()
	s.violations.all = append(s.violations.all, err.Error())
}

// once tells the story and ends.
func once(ctx context.Context, w world) error {
	s, err := begin(ctx, w, newPrinter(w.out), nil)
	if err != nil {
		return err
	}
	defer s.end()
	wrong := s.tell(ctx)
	if ctx.Err() != nil {
		return errInterrupted
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%d things are not as they should be; the functions' log is %s\n    %s",
			len(wrong), s.log.Name(), strings.Join(wrong, "\n    "))
	}
	s.line("\nEvery step was as it should be.")
	return nil
}

var errInterrupted = errors.New("interrupted")

// stayUp tells the story and leaves everything running until ctx ends.
func stayUp(ctx context.Context, w world) error {
	p := newPrinter(w.out)
	own, err := w.takeSeat()
	if err != nil {
		return err
	}
	if own == nil {
		p.line("Another scripts/dev is running here. This one works beside it, with everything its own;")
		p.line("scripts/dev clock and scripts/ops reach the other.")
	} else {
		defer own.leave()
	}
	s, err := begin(ctx, w, p, own)
	if err != nil {
		return err
	}
	defer s.end()
	if own != nil {
		if err := own.tell(stateOf(s.stack)); err != nil {
			return err
		}
	}
	wrong := s.tell(ctx)
	if ctx.Err() == nil {
		if len(wrong) > 0 {
			s.line("\n%s", s.paint(red, "Not everything was as it should be; see the lines with WRONG above, and the log."))
		}
		s.places()
		s.watch(ctx)
	}
	s.line("\nEnding.")
	return nil
}

// begin starts the system, and opens a shop in it. With a seat it has the usual address and log.
func begin(ctx context.Context, w world, p *printer, own *seat) (_ *system, err error) {
	began := time.Now()
	if err := setup.Postgres(ctx, p); err != nil {
		return nil, err
	}
	s := &system{printer: p, seated: own != nil, brief: w.brief}
	defer func() {
		if err != nil {
			s.end()
			if ctx.Err() != nil {
				err = errInterrupted
			}
		}
	}()
	if err := s.openLog(w); err != nil {
		return nil, err
	}
	address, sealed := "", ""
	if s.seated && free(w.gateway) {
		address = w.gateway
	}
	if s.seated {
		if sealed, err = s.openSeals(w); err != nil {
			return nil, err
		}
	}
	s.stack, err = stack.Start(ctx, stack.Options{
		Clock: clock.NewFlowing(time.Now()), Run: true, Log: s.log, GatewayAddress: address, Violation: s.violated,
		Seed: uint64(began.UnixNano()), BankDelay: bankDelay, SealsFolder: sealed,
	})
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, s.stack.Stop)
	if err := s.openShop(ctx); err != nil {
		return nil, err
	}
	s.line("%s", s.paint(bold, "Tollgate, all of it on this machine"))
	s.line("%d functions behind an API gateway, PostgreSQL, and stand-ins for Cloud Tasks, Pub/Sub,", len(stack.Functions()))
	s.line("Cloud Scheduler, Stripe, PayPal and GoCardless. Up in %.1f s.", time.Since(began).Seconds())
	return s, nil
}

// openLog opens the functions' log. That of a run without a seat is kept only if there is something to find in it.
func (s *system) openLog(w world) (err error) {
	if err := os.MkdirAll(w.folder, 0o755); err != nil {
		return err
	}
	name := logFile
	if !s.seated {
		name = fmt.Sprintf("functions-%d.log", os.Getpid())
	}
	s.log, err = os.OpenFile(w.file(name), os.O_CREATE|os.O_TRUNC|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, func() {
		_ = s.log.Close()
		if !s.seated && !s.amiss {
			_ = os.Remove(s.log.Name())
		}
	})
	return nil
}

// openSeals makes the folder of the audit log's seals. What lies in it belongs to a database that is gone.
func (s *system) openSeals(w world) (folder string, err error) {
	folder = w.file(seals)
	if err := os.RemoveAll(folder); err != nil {
		return "", err
	}
	s.closers = append(s.closers, func() { _ = os.RemoveAll(folder) })
	return folder, os.Mkdir(folder, 0o700)
}

// free reports whether nothing is at the address.
func free(address string) bool {
	l, err := net.Listen("tcp", address)
	return err == nil && l.Close() == nil
}

// openShop makes the demo merchant.
func (s *system) openShop(ctx context.Context) error {
	merchantID, apiKey, err := s.stack.CreateMerchant(ctx, "Demo shop")
	if err != nil {
		return err
	}
	now := s.stack.Clock.Now()
	fees := ledger.Schedule{ // Stripe's own price, handed on
		MerchantID: merchantID, Provider: stripe.Name, Currency: money.MustParseCurrency("JPY"), BasisPoints: 360, Rounding: ledger.HalfUp, EffectiveFrom: now,
	}
	if err := ledger.SetSchedule(ctx, s.stack.DB, fees, now); err != nil {
		return err
	}
	if s.shop, err = shop.Open(s.stack.Clock.Now); err != nil {
		return err
	}
	s.closers = append(s.closers, s.shop.Close)
	secret, err := s.stack.CreateEndpoint(ctx, merchantID, s.shop.URL)
	if err != nil {
		return err
	}
	s.shop.Trust(secret)
	s.api = shop.Client{BaseURL: s.stack.GatewayURL, APIKey: apiKey}
	return nil
}

// tell returns what was not as it should be.
func (s *system) tell(ctx context.Context) []string {
	life := &story{printer: s.printer, stack: s.stack, shop: s.shop, api: s.api, brief: s.brief, patience: 15 * time.Second}
	life.tell(ctx)
	s.violations.mu.Lock()
	defer s.violations.mu.Unlock()
	wrong := append(life.wrong, s.violations.all...)
	s.amiss = len(wrong) > 0
	return wrong
}

func (s *system) end() {
	for i := len(s.closers) - 1; i >= 0; i-- {
		s.closers[i]()
	}
	s.closers = nil
}

// places tells where things are, and what to try.
func (s *system) places() {
	clockHint := "scripts/dev clock advance 31h"
	if !s.seated {
		clockHint = fmt.Sprintf("curl -X POST '%s/advance?by=31h'", s.stack.ClockURL)
	}
	s.heading("Where things are")
	places := [][2]string{
		{"API", s.stack.GatewayURL + "  (functions/openapi.yaml)"},
		{"metrics", s.stack.MetricsURL()},
		{"health", s.stack.HostConfig().URL("createpayment") + "/health/readiness  (or startup, liveness; every function has them)"},
		{"Stripe", s.stack.ProviderURL(stripe.Name) + "/_sim/effects  (what was really done there)"},
		{"PayPal", s.stack.ProviderURL(paypal.Name) + "/_sim/effects"},
		{"bank", s.stack.ProviderURL(bank.Name) + "/_sim/effects"},
		{"clock", s.stack.ClockURL + "/now  (" + clockHint + ")"},
		{"database", fmt.Sprintf("psql '%s'", s.stack.DatabaseURL)},
		{"log", s.log.Name()},
		{"seals", s.stack.HostConfig().AuditSeals + "  (of the audit log, each night)"},
	}
	if s.seated {
		places = append(places, [2]string{"webhooks", "scripts/ops webhooks listen --forward-to http://localhost:3000/hook  (to a server of yours)"},
			[2]string{"operators", "scripts/ops --help"})
	}
	for _, place := range places {
		s.line("  %-9s %s", place[0], place[1])
	}
	s.heading("Your turn")
	s.line(`curl -sS %s/v1/payments \
  -H 'Authorization: Bearer %s' \
  -H 'Content-Type: application/json' \
  -H "Idempotency-Key: curl-$(date +%%s%%N)" \
  -d '{"amount": 5000, "currency": "JPY", "payment_method": "pm_card_visa", "capture_method": "manual"}'`,
		s.stack.GatewayURL, s.api.APIKey)
	s.line("\nWith \"payment_method\": \"paypal\", or \"bank_transfer\" in GBP or EUR, and a \"return_url\", the answer has the payer's page.")
	s.line("\nWebhooks that the shop gets are shown as they come. Ctrl-C ends everything.")
}

// watch tells of webhooks until ctx ends.
func (s *system) watch(ctx context.Context) {
	told := len(s.shop.Received())
	for {
		var fresh []shop.Webhook
		err := s.shop.Await(ctx, func(received []shop.Webhook) bool {
			fresh = received[told:]
			return len(fresh) > 0
		})
		if err != nil {
			return
		}
		told += len(fresh)
		for _, w := range fresh {
			trust := "signature verified"
			if w.Err != nil {
				trust = s.paint(red, "NOT VERIFIED: "+w.Err.Error())
			}
			s.line("%s  webhook  %s, %s, sequence %d, %s", s.paint(dim, w.At.Format(time.DateTime)),
				cmp.Or(w.Type, "unreadable"), cmp.Or(w.PaymentID, "no payment"), w.Sequence, trust)
		}
	}
}
