// Package natstest gives the tests of a program a real NATS server with JetStream: the same server that runs
// stand-alone, inside the process of the test, on a free port of loopback and with a folder of its own.
//
//	func TestCollector(t *testing.T) {
//		srv := natstest.Start(t)
//		bus, err := natsbus.Open(t.Context(), srv.URL())
//		srv.Close()    // an outage: the clients lose their connections
//		srv.Restart(t) // at the same address and with the same streams
//	}
//
// Only a test that imports it links the server. It needs no installation and no setting.
package natstest
