package payment

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/event"
	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/idempotency"
	"github.com/tollgate/tollgate/shared/postgres"
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/saga"
)

// work is one saga under this worker's lease, with the attempt it is about.
type work struct {
	saga     *saga.Saga
	token    id.ID
	provider string // whom the attempt is for; the saga may go on to another
	attempt  provider.Attempt
	first    bool       // no attempt of the step may have been sent before this call
	forced   bool       // before its time, for a request that waits for it: its backoff does not grow
	was      saga.State // before the lease was taken; "" for a saga that starts
	rule     string     // of the resolver, when this resolves what was unknown
	source   string     // call, replay or lookup
	actor    Actor
}

func (w work) sourceOf(evidence id.ID) Source {
	return Source{Name: w.source, Rule: w.rule, Evidence: evidence, Actor: w.actor, saga: w.saga.ID}
}

// execute sends the attempt to the provider, unless the lease has run out: a worker that was
// frozen for so long may find that others have sent the attempt, and that the provider has
// forgotten its key since.
func (s *Service) execute(ctx context.Context, w work, call provider.Call) provider.Result {
	if !w.saga.LeaseUntil.After(s.Now()) {
		return provider.Result{
			Outcome: provider.Unknown, Reference: w.attempt.Request.Reference,
			Evidence: provider.Evidence{Error: "not sent: the lease had run out"},
		}
	}
	adapter := s.Providers[w.provider]
	res := adapter.Execute(ctx, call)
	step := string(w.attempt.Request.Step)
	s.Log.InfoContext(ctx, "provider called", "provider", adapter.Name(), "operation", step, "outcome", res.Outcome,
		"payment", w.saga.TransactionID, "saga", w.saga.ID, "attempt", w.attempt.Number, "source", w.source,
		"status", res.Evidence.Status, "provider_request", res.Evidence.RequestID, "error", res.Evidence.Error,
		"duration_ms", res.Evidence.Duration.Milliseconds())
	s.at(ctx, PointCalled)
	return res
}

// conduct records what a call yielded, and goes on to other providers for as long as
// that is what follows.
func (s *Service) conduct(ctx context.Context, w work, res provider.Result, known *dossier) (idempotency.Answer, error) {
	began := w.attempt.SentAt
	for {
		a, next, err := s.record(ctx, w, res, known)
		if err != nil || next == nil {
			return a, err
		}
		call, err := provider.FirstCall(next.attempt)
		if err != nil {
			return idempotency.Answer{}, fault.Wrap(err, "call the next provider")
		}
		s.Metrics.FailedOver(ctx, w.provider, next.provider, string(res.Outcome))
		if w.was == "" && s.Now().After(began.Add(requestTime)) {
			return s.handOver(ctx, *next, a)
		}
		w, known = *next, nil
		res = s.execute(ctx, w, call)
	}
}

// record writes down what a call yielded and says what the merchant gets. next is what
// is to be called now, when the payment has gone on to another provider.
//
// known is the payment as the claim left it, or nil. With it, the record is one
// round trip: the new rows are computed here, and the database refuses them all if
// the payment has moved on, the lease is lost or its time is in a period that has ended.
// Then, and without it, the payment is read again under its lock.
func (s *Service) record(ctx context.Context, w work, res provider.Result, known *dossier) (a idempotency.Answer, next *work, err error) {
	// The provider has answered: a caller who went away must not keep it from being written down.
	ctx = context.WithoutCancel(ctx)
	if known != nil {
		a, next, err = s.recordKnown(ctx, w, res, known)
		if err == nil || !postgres.HasCode(err, postgres.VersionMoved) && !postgres.HasCode(err, postgres.PeriodClosed) && !saga.LeaseLost(err) {
			return a, next, fault.Wrap(err, "record the provider's answer")
		}
	}
	var d *dossier
	err = postgres.InTx(ctx, s.Pool, func(tx pgx.Tx) (err error) {
		if d, err = s.load(ctx, tx, w.saga.TransactionID, id.ID{}, w.saga.ID); err != nil {
			return err
		}
		var settled idempotency.Answer
		ended := !d.saga(w.saga.ID).Open()
		if ended { // by a webhook, or another worker
			if settled, err = s.answerOf(ctx, tx, d, w.saga.ID); err != nil {
				return err
			}
			settled.Replayed = false
		}
		b := &pgx.Batch{}
		a, next, err = s.conclude(ctx, b, d, w, res)
		if err != nil {
			return err
		}
		if ended {
			settled.After = a.After
			a = settled
		}
		if err := postgres.Pipeline(ctx, tx, b); err != nil {
			return err
		}
		s.at(ctx, PointRecording)
		return nil
	})
	if err != nil {
		return idempotency.Answer{}, nil, fault.Wrap(err, "record the provider's answer")
	}
	s.at(ctx, PointRecorded)
	s.measure(ctx, d, w.rule)
	return a, next, nil
}

// measure counts the operations that a commit has ended.
func (s *Service) measure(ctx context.Context, d *dossier, rule string) {
	for _, f := range d.finished {
		s.Metrics.PaymentOperation(ctx, operation(f.saga.Kind), f.saga.Provider, f.outcome, d.now.Sub(f.saga.CreatedAt))
		if rule != "" {
			s.Metrics.UnknownResolved(ctx, f.saga.Provider, rule)
		}
	}
}

func (s *Service) recordKnown(ctx context.Context, w work, res provider.Result, d *dossier) (a idempotency.Answer, next *work, err error) {
	b := &pgx.Batch{}
	b.Queue(`SELECT expect_version($1, $2)`, d.ID, d.Version)
	saga.QueueFence(b, w.saga.ID, w.token)
	// The dossier is computed on a copy: if the database refuses, it is as it was.
	p, held := *d.Payment, *w.saga
	fresh := s.newDossier(&p)
	fresh.sagas, fresh.schedules = []*saga.Saga{&held}, d.schedules
	fresh.before()
	if a, next, err = s.conclude(ctx, b, fresh, w, res); err != nil {
		return a, nil, err
	}
	s.at(ctx, PointRecording)
	if err := postgres.Pipeline(ctx, s.Pool, b); err != nil {
		return a, nil, err
	}
	s.at(ctx, PointRecorded)
	s.measure(ctx, fresh, w.rule)
	return a, next, nil
}

// conclude applies a result to the dossier and queues all that follows from it.
//
// If the lease was lost, another worker owns the saga: the reply's facts are true
// all the same and are applied as anybody's would be, but what the saga does next
// is not this worker's to say.
func (s *Service) conclude(ctx context.Context, b *pgx.Batch, d *dossier, w work, res provider.Result) (a idempotency.Answer, next *work, err error) {
	sg := d.saga(w.saga.ID)
	holding := sg.Open() && sg.LeaseToken == w.token
	evidence := s.queueResponse(b, d.Payment, response{provider: w.provider, saga: sg.ID, key: w.attempt.Key, operation: w.operation(), result: res}, d.now)
	src := w.sourceOf(evidence)
	src.overtaken = sg.Live(d.now) && !holding
	if holding {
		if next = s.failOver(ctx, b, d, sg, w, res); next != nil {
			if w.rule != "" {
				saga.QueueResolved(b, sg.ID, w.rule, evidence)
			}
			d.write(b, src)
			a, _ = d.answer(sg, nil)
			a.After = s.after(d.ID, nil)
			return a, next, nil
		}
	}
	for _, f := range res.Facts {
		if _, err := d.apply(f, w.provider); err != nil {
			return idempotency.Answer{}, nil, err
		}
	}
	if res.Reference != "" && w.provider == d.Provider && d.ProviderTransactionID == nil && d.Status == Pending {
		d.ProviderTransactionID = &res.Reference
	}
	d.settle()
	var later *wake
	if holding {
		later = s.release(b, d, sg, w, res, evidence)
	}
	d.write(b, src)
	a, _ = d.answer(sg, refusalOf(d, sg))
	if sg.State == saga.Scheduled && sg.Kind == provider.Authorize {
		a = idempotency.Answer{Status: http.StatusServiceUnavailable, Body: s.unavailable(d), RetryAfter: max(pollAfter, res.RetryAfter)}
	}
	a.After = s.after(d.ID, later)
	return a, nil, nil
}

func (w work) operation() string {
	if w.source == "lookup" {
		return "lookup"
	}
	return string(w.attempt.Request.Step)
}

// refusalOf is the refusal with which a saga was closed just now.
func refusalOf(d *dossier, sg *saga.Saga) *provider.Refusal {
	for _, f := range d.finished {
		if f.saga.ID == sg.ID {
			return f.refusal
		}
	}
	return nil
}

// unsentBackoff bounds how long what was provably not sent waits: somebody may be waiting
// for it, and asking whether it can be sent now costs the provider nothing.
const unsentBackoff = 2 * time.Minute

const (
	// payerBackoff is how long a payer is left alone at least. The provider tells by a
	// webhook when they are done; asking is for when that is lost, and costs a call for each
	// payment that waits.
	payerBackoff = time.Minute

	// longOutage is from what time on a wait that the provider's gate names is one that many
	// payments share: a circuit is open. They come back within returnWithin after it, not
	// all in one instant, beside the payments that are new then: those of a circuit's minute
	// are a quarter more than these.
	longOutage   = 5 * time.Second
	returnWithin = 4 * time.Minute
)

// share is a part of the whole that is the same for an id each time, and evenly spread
// over ids.
func share(i id.ID, whole time.Duration) time.Duration {
	sum := sha256.Sum256(i[:])
	return time.Duration(float64(binary.BigEndian.Uint32(sum[:])) / (1 << 32) * float64(whole)).Truncate(time.Millisecond)
}

// release says what becomes of a saga that the facts did not close.
func (s *Service) release(b *pgx.Batch, d *dossier, sg *saga.Saga, w work, res provider.Result, evidence id.ID) *wake {
	unsent := res.Outcome == provider.NotSent && w.first
	if w.source != "lookup" {
		saga.QueueOutcome(b, w.attempt, res.Outcome, unsent, d.now)
	}
	if !sg.Open() {
		return nil
	}
	wait := saga.Unknown
	switch res.Outcome {
	case provider.NotSent:
		if unsent {
			wait = saga.Scheduled
		}
	case provider.RequiresAction:
		wait = saga.AwaitingPayer
	case provider.Pending:
		wait = saga.AwaitingProvider
	case provider.Declined, provider.Rejected:
		// A void that stopped a pending payment took its owner away: it stays until
		// the payment has come to rest.
		if sg.Kind == provider.Capture || sg.Kind == provider.Void && d.Status != Pending {
			s.refuse(d, sg, res)
			return nil
		}
	}
	backoff := saga.Backoff(sg.Tries)
	switch wait {
	case saga.Scheduled:
		backoff = min(backoff, unsentBackoff)
	case saga.AwaitingPayer:
		backoff = max(backoff, payerBackoff)
	}
	due, tries := d.now.Add(max(backoff, res.RetryAfter)), sg.Tries+1
	if wait == saga.Scheduled && res.RetryAfter >= longOutage {
		due = due.Add(share(sg.ID, returnWithin))
	}
	if w.forced {
		tries = sg.Tries
	}
	if wait == saga.Scheduled && sg.Kind == provider.Authorize && w.attempt.Request.Reference == "" && due.After(d.ExpiresAt) {
		due = d.ExpiresAt
	}
	switch {
	case wait == saga.AwaitingPayer && w.was != saga.AwaitingProvider && d.approved():
		wait, due, tries = saga.AwaitingProvider, d.now, 0 // the approval came while this was under way: ask again
	case wait == saga.AwaitingProvider && w.was == saga.AwaitingPayer:
		due, tries = d.now.Add(max(saga.Backoff(0), res.RetryAfter)), 0 // how long the payer took is no measure of what comes
	}
	saga.QueueRelease(b, sg.ID, wait, due, tries, d.now)
	if w.rule != "" && (wait == saga.AwaitingPayer || wait == saga.AwaitingProvider) {
		saga.QueueResolved(b, sg.ID, w.rule, evidence)
	}
	sg.State = wait
	return &wake{body: Wake{SagaID: sg.ID, Try: tries}, provider: sg.Provider, tries: tries, at: due}
}

// refuse closes a capture or void that was definitely refused. The payment keeps
// its state; a refused capture is shown and announced.
func (s *Service) refuse(d *dossier, sg *saga.Saga, res provider.Result) {
	r := res.Refusal
	if r == nil {
		r = &provider.Refusal{Code: string(res.Outcome), Message: "The provider refused the request."}
	}
	d.close(sg, string(res.Outcome), r)
	if sg.Kind == provider.Capture && d.Status == Authorized {
		d.fail(r)
		d.note("capture.refused")
		d.announce = append(d.announce, announcement{event: event.PaymentCaptureFailed})
	}
}

// unavailable is the body of a create whose request provably did not leave.
func (s *Service) unavailable(d *dossier) []byte {
	external := id.Payment.External(d.ID)
	f := fault.New(fault.ProviderUnavailable(d.Provider),
		"The provider can't be reached. Nothing was charged. Tollgate keeps trying until expires_at; cancel the payment to stop it, or send the request again with the same Idempotency-Key to see where it stands.").
		With("payment_id", external).With("will_retry", true).With("expires_at", d.ExpiresAt.UTC()).
		With("links", map[string]string{"payment": "/v1/payments/" + external, "cancel": "/v1/payments/" + external + "/cancel"})
	return fault.Problem(f, "/v1/payments")
}

const insertResponse = `
	INSERT INTO provider_responses (id, transaction_id, saga_id, obligation_id, provider, operation, provider_key, outcome,
		http_status, provider_request_id, body, error, duration_ms, created_at)
	VALUES ($1, $2, $3, $4, $5, $6, nullif($7, ''), $8, nullif($9, 0), nullif($10, ''), nullif($11, ''), nullif($12, ''), $13, $14)`

type response struct {
	provider         string
	saga, obligation id.ID
	key, operation   string
	result           provider.Result
}

// queueResponse keeps the raw evidence and returns its id.
func (s *Service) queueResponse(b *pgx.Batch, p *Payment, r response, now time.Time) id.ID {
	evidence, e := s.NewID(), r.result.Evidence
	b.Queue(insertResponse, evidence, p.ID, r.saga, r.obligation, r.provider, r.operation, r.key, r.result.Outcome,
		e.Status, e.RequestID, e.Body, e.Error, e.Duration.Milliseconds(), now)
	return evidence
}
