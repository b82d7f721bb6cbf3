"""The daemon as a service: `app` joins the rooms, `systemd` and `journal` speak to the host."""
