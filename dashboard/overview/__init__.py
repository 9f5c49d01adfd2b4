"""The pages that join the areas: Overview, Connections, the frame around every page."""
