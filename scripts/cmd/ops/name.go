package main

import (
	"fmt"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/merchant"
)

// A kind is of things that have identifiers with a prefix.
type kind interface{ prefix() id.Prefix }

type (
	ofPayment  struct{}
	ofRefund   struct{}
	ofEvent    struct{}
	ofMerchant struct{}
	ofKey      struct{}
	ofEndpoint struct{}
	ofDelivery struct{}
	ofReplay   struct{}

	ofSettlement struct{}
)

func (ofPayment) prefix() id.Prefix  { return id.Payment }
func (ofRefund) prefix() id.Prefix   { return id.Refund }
func (ofEvent) prefix() id.Prefix    { return id.Event }
func (ofMerchant) prefix() id.Prefix { return id.Merchant }
func (ofKey) prefix() id.Prefix      { return merchant.KeyPrefix }
func (ofEndpoint) prefix() id.Prefix { return id.Endpoint }
func (ofDelivery) prefix() id.Prefix { return id.Delivery }
func (ofReplay) prefix() id.Prefix   { return id.Replay }

func (ofSettlement) prefix() id.Prefix { return id.Settlement }

// external is an identifier that is read as the database has it and shown as
// merchants know it.
type external[K kind] struct{ id.ID }

// MarshalText spells the identifier with its prefix; the zero ID is empty.
func (e external[K]) MarshalText() ([]byte, error) {
	var k K
	return []byte(k.prefix().External(e.ID)), nil
}

func (e external[K]) String() string {
	var k K
	return k.prefix().External(e.ID)
}

// parseID reads an identifier as merchants know it, or as logs and tables have it.
func parseID[K kind](s string) (external[K], error) {
	var k K
	if u, err := k.prefix().Parse(s); err == nil {
		return external[K]{u}, nil
	}
	u, err := id.Parse(s)
	if err != nil {
		return external[K]{}, usageError(fmt.Sprintf("%q is not of the form %s_…, nor a UUID", s, k.prefix()))
	}
	return external[K]{u}, nil
}
