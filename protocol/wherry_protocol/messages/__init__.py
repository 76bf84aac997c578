"""Every message on the wire, one module per conversation; `limits` holds their bounds."""
