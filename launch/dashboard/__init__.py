"""The dashboard: a screen's store in a browser, read-only.

Pages are made on the server (Flask and Jinja), so that filters, order and page are plain links and
the database does the work; plotly.js draws what is looked at rather than read. Everything is
served from this machine.
"""
