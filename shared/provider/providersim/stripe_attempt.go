package providersim

import "net/url"

// confirmation is how an intent is confirmed.
type confirmation struct {
	offSession    bool
	errorOnAction bool
	returnURL     string
	base          string // of the page where 3-D Secure is answered
}

// confirmIntent is POST /v1/payment_intents/{id}/confirm.
func (s *Stripe) confirmIntent(c *call) (any, *stripeError) {
	in, problem := lookUp[*intent](s, 404, "intent", "payment_intent", c.id)
	if problem != nil {
		return nil, problem
	}
	next := *in // what the request would make of it, to be checked first
	if name := c.form.str("payment_method"); name != "" {
		if next.method, problem = s.useCard(name); problem != nil {
			return nil, problem
		}
	}
	if next.captureMethod, problem = c.form.choice("capture_method", in.captureMethod, "automatic", "automatic_async", "manual"); problem != nil {
		return nil, problem
	}
	if next.threeDSecure, problem = c.form.choice("payment_method_options[card][request_three_d_secure]", in.threeDSecure, "automatic", "any", "challenge"); problem != nil {
		return nil, problem
	}
	switch in.status {
	case requiresMethod, requiresConfirmation, requiresAction:
	case succeeded:
		return nil, unexpectedState(in, "You cannot confirm this PaymentIntent because it has already succeeded after being previously confirmed.")
	default:
		return nil, unexpectedState(in, "You cannot confirm this PaymentIntent because it has a status of %s. Only a PaymentIntent with one of the "+
			"following statuses may be confirmed: requires_payment_method, requires_confirmation, requires_action.", in.status)
	}
	how, problem := readConfirmation(c, &next)
	if problem != nil {
		return nil, problem
	}
	in.captureMethod, in.threeDSecure, in.method = next.captureMethod, next.threeDSecure, next.method
	s.objects[in.method.id] = in.method
	if problem := s.attempt(c, in, how); problem != nil {
		return nil, problem
	}
	return in.render(), nil
}

// readConfirmation checks that an intent can be confirmed as the request asks.
func readConfirmation(c *call, in *intent) (how confirmation, problem *stripeError) {
	how.base = c.base
	if how.offSession, problem = c.form.boolean("off_session"); problem != nil {
		return how, problem
	}
	if how.errorOnAction, problem = c.form.boolean("error_on_requires_action"); problem != nil {
		return how, problem
	}
	if how.returnURL, problem = c.form.text("return_url"); problem != nil {
		return how, problem
	}
	if how.returnURL != "" {
		if u, err := url.Parse(how.returnURL); err != nil || u.Scheme == "" || u.Host == "" {
			return how, invalid("return_url", "url_invalid", "Not a valid URL")
		}
	} else {
		how.returnURL = in.returnURL
	}
	if in.method == nil {
		return how, invalid("", "payment_intent_unexpected_state",
			"You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the PaymentIntent with a payment "+
				"method and then confirm it again, or confirm it again directly with a payment method or ConfirmationToken.")
	}
	if in.automatic && in.allowRedirects == "always" && how.returnURL == "" {
		return how, invalid("", "",
			"This PaymentIntent is configured to accept payment methods enabled in your Dashboard. Because some of these payment methods might "+
				"redirect your customer off of your page, you must provide a `return_url`. If you don't want to accept redirect-based payment methods, "+
				"set `automatic_payment_methods[enabled]` to `true` and `automatic_payment_methods[allow_redirects]` to `never` when creating Setup "+
				"Intents and Payment Intents.")
	}
	return how, nil
}

// attempt tries to take the payment with the intent's payment method.
func (s *Stripe) attempt(c *call, in *intent, how confirmation) *stripeError {
	in.cause, in.returnURL, in.lastError, in.nextAction = c.cause(), how.returnURL, nil, nil
	tested := in.method.card.authenticate || in.threeDSecure != "automatic"
	if tested && (how.offSession || how.errorOnAction) {
		return s.decline(in, authenticationRequired)
	}
	if tested {
		in.status = requiresAction
		in.nextAction = nextAction(in, how)
		s.emit(in.cause, in, "payment_intent.requires_action", in.render())
		return nil
	}
	return s.charge(in)
}

func nextAction(in *intent, how confirmation) object {
	page := how.base + "/_sim/3ds/" + in.id
	if how.returnURL == "" { // Stripe.js would show the challenge
		return object{"type": "use_stripe_sdk", "use_stripe_sdk": object{"type": "three_d_secure_redirect", "stripe_js": page}}
	}
	return object{"type": "redirect_to_url", "redirect_to_url": object{"url": page, "return_url": how.returnURL}}
}

// charge asks the bank, once authentication is out of the way.
func (s *Stripe) charge(in *intent) *stripeError {
	if in.method.card.processing && in.status != processing {
		in.status = processing
		in.due = s.schedule(s.now().Add(s.cfg.ProcessingDelay), func() { s.endProcessing(in) })
		s.emit(in.cause, in, "payment_intent.processing", in.render())
		return nil
	}
	if d := in.method.card.decline; d != nil {
		return s.decline(in, *d)
	}
	s.authorize(in)
	return nil
}

// endProcessing decides a payment that was in processing.
func (s *Stripe) endProcessing(in *intent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if in.status != processing {
		return
	}
	in.due = nil
	// There is nobody to answer: a decline shows in the intent and its events.
	_ = s.charge(in)
}

// decline records a refused attempt. The intent can be confirmed again, with
// another payment method, or canceled.
func (s *Stripe) decline(in *intent, d decline) *stripeError {
	ch := s.newCharge(in)
	ch.status, ch.decline = "failed", &d
	problem := &stripeError{
		status: 402, begun: true, Type: "card_error",
		Code: d.code, DeclineCode: d.declineCode, Message: d.message, charge: ch.id, method: in.method,
	}
	in.status, in.method, in.lastError, in.nextAction = requiresMethod, nil, problem, nil
	s.emit(in.cause, in, "charge.failed", ch.render())
	s.emit(in.cause, in, "payment_intent.payment_failed", in.render())

	answer := *problem
	answer.intent = in
	return &answer
}

// authorize records an approved attempt, and captures it unless that is left to
// the caller.
func (s *Stripe) authorize(in *intent) {
	ch := s.newCharge(in)
	ch.status = succeeded
	s.effect(in.cause, EffectAuthorize, in, ch.id, ch.amount, nil)
	in.nextAction = nil
	if in.captureMethod != "manual" {
		s.capture(in.cause, in, in.amount)
		return
	}
	ch.captureBefore = s.now().Add(s.cfg.AuthorizationValid)
	in.status, in.capturable = requiresCapture, in.amount
	in.due = s.schedule(ch.captureBefore, func() { s.expire(in, ch) })
	s.emit(in.cause, in, "charge.succeeded", ch.render())
	s.emit(in.cause, in, "payment_intent.amount_capturable_updated", in.render())
}

// expire ends an authorization that nobody captured in time.
func (s *Stripe) expire(in *intent, ch *charge) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if in.status != requiresCapture || in.latest != ch {
		return
	}
	s.end(cause{}, in, "automatic", EffectExpire)
}

// capture takes the money. Of an authorization that was captured in part, the
// rest is released: Stripe shows it as refunded, with a refund that nobody asked
// for and that moves nothing.
func (s *Stripe) capture(by cause, in *intent, amount int64) {
	ch := in.latest
	s.take(by, in, amount)
	if ch.captureBefore.IsZero() {
		s.emit(by, in, "charge.succeeded", ch.render())
	} else {
		s.emit(by, in, "charge.captured", ch.render())
	}
	if rest := ch.amount - amount; rest > 0 {
		s.release(ch, rest)
		s.emit(by, in, "charge.refunded", ch.render())
	}
	s.emit(by, in, "payment_intent.succeeded", in.render())
}

// take moves the money of a capture.
func (s *Stripe) take(by cause, in *intent, amount int64) {
	ch := in.latest
	ch.captured = amount
	in.status, in.capturable, in.received, in.due = succeeded, 0, amount, nil
	ch.transaction = s.newTransaction(moveCharge, ch.id, in, amount, s.cfg.Fee(amount, in.currency), nil)
	s.effect(by, EffectCapture, in, ch.id, amount, nil)
	if complaint := in.method.card.complaint; complaint != nil {
		s.schedule(s.now().Add(s.cfg.DisputeDelay), func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.dispute(ch, *complaint)
		})
	}
}
